"""Data that is not what the catalogue says: published all the same, counted, told once, and shown."""

import asyncio
import json
import subprocess
import sys

from dev.schemas.files import ROOT
from dingbridge.events import Catalogue, catalogue
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import environment, eventually
from tests.support.pusher import Pusher

HEAD = {"EventTime": 1_764_057_600_000, "CorpId": "dingcorpsample01", "BizId": "b"}


def callbacks():
    for number in range(20):
        user = {
            "EventType": "user_add_org",
            "TimeStamp": "1764057600000",
            "CorpId": "dingcorpsample01",
            "UserId": [f"u{number}"],
        }
        late = {"TimeStamp": "2025-11-25 16:00:00"} if number < 3 else {}
        colour = {"colour": "secret-red", "韩梅梅": 1} if number < 2 else {}
        yield {**user, **late, **colour}
        yield {
            "EventType": "brand_new_event",
            **HEAD,
            "eventId": f"e{number}",
            "userId": f"u{number}",
            "level": number,
        }


async def test_drift_is_counted_told_once_and_shown_and_an_unknown_type_gets_its_entry(
    processes, kafka_env, kafka_settings, tmp_path
):
    async def schema(*arguments):
        done = await asyncio.to_thread(processes.run, "schema", *arguments, env=ingress.env)
        assert done.returncode == 0, done.stderr
        return done

    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url, retries=2)
    bodies = [json.dumps(callback).encode() for callback in callbacks()]
    await pusher.push_all(enumerate(bodies), concurrency=1)  # the first of a type drifts
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "all of it is in Kafka")
    assert sum(map(len, (await read_all(kafka_settings)).values())) == len(bodies)

    def counted(kind, event_type="user_add_org"):
        return ingress.metric("dingbridge_schema_drift_total", type=event_type, kind=kind)

    # the first callback of a type is looked at, and of others one in 10 s
    await eventually(
        lambda: asyncio.to_thread(lambda: counted("unknown_field") >= 1), 30, "the relay has told"
    )
    assert (counted("type") >= 1, counted("missing")) == (True, 0)
    assert counted("unknown_field", "other") == counted("unknown_field", "brand_new_event") == 0
    told = [line for line in ingress.process.log_text().splitlines() if "schema.drift" in line]
    assert len(told) == 3
    assert not [line for line in told if "secret-red" in line or "韩梅梅" in line]

    lines = [json.loads(line) for line in (await schema("drift", "--json")).stdout.splitlines()]
    assert [(line["kind"], line["field"], line["records"], line["of"]) for line in lines] == [
        ("type", "timeStamp", 3, 20),
        ("unknown_field", "?", 2, 20),
        ("unknown_field", "colour", 2, 20),
    ]
    table = await schema("drift", "user_add_org")
    assert "user_add_org\told\ttype\ttimeStamp\t3\t20" in table.stdout
    assert "secret-red" not in table.stdout

    told = (await schema("drift", "brand_new_event")).stderr
    assert "brand_new_event; in a clone, `python -m dev.schemas propose`" in told
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "dev.schemas", "propose"],
        env=environment(ingress.env),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    proposed = json.loads(done.stdout)
    entry = proposed["events"]["brand_new_event"]
    assert entry["new"] == {"userId": "str id", "level": "int"}
    document = {"newEnvelope": catalogue.envelope, "families": {}, "fields": {}, **proposed}
    assert "brand_new_event" in Catalogue(document)
    empty = await schema("drift", "no_such_type")
    assert "there is no topic" in empty.stderr
