"""The outcome of each delivery is in Kafka, and the command and the console's pages say the same of it."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from dingbridge.console.access.users import Role
from dingbridge.console.index import feed as feed_module
from dingbridge.console.life.facts import facts_of, facts_of_each
from dingbridge.console.life.outcome import outcome_of, replays_of
from dingbridge.consumers.forward.consumer import Forward, consumer_of
from dingbridge.consumers.forward.deliveries import Delivery, read_delivery
from dingbridge.consumers.forward.settings import ForwardSettings, load_systems
from dingbridge.events.envelope import Received, Record, to_records
from dingbridge.kafka.topic_policy import control_topic, inbox_topic
from dingbridge.replay.copying import FROM_HEADER
from dingbridge.settings import ConsumerSettings
from dingbridge.ssrf import AddressGuard
from dingbridge.worker.delivery import REPLAY_HEADER
from tests.integration.console_support import console_at, page
from tests.integration.forward_support import Got, Receiver, forward_file, receiver
from tests.integration.worker_support import consumer_settings, event_record, given_id, publish, serving
from tests.support.kafka_reader import read_topic
from tests.support.waiting import eventually

REFUSAL = "no such person: 张三"


@pytest.fixture
async def system_a() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


def approval() -> Record:
    body = {"EventType": "bpms_instance_change", "eventId": "e3", "corpId": "dingcorp1", "type": "finish"}
    body |= {"processInstanceId": "pi", "processCode": "PROC-2"}
    return to_records(Received(1, "j1", 1_700_000_000_500, "default", "http", orjson.dumps(body)))[0]


def answers() -> Any:
    """500 to the first attempt at ``e1``, 422 in words to ``e2``, then all is taken."""
    asked: list[str] = []

    def answer(got: Got) -> Any:
        asked.append(got.event_id)
        if asked.count(got.event_id) > 1:
            return 200
        return 500 if got.event_id == "e1" else web.Response(status=422, text=REFUSAL + "…" * 200)

    return answer


async def test_each_attempt_is_told_alike_by_the_command_and_by_the_console(
    kafka_env: dict[str, str],
    processes: Any,
    tmp_path: Path,
    system_a: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(feed_module, "REFRESH_S", 0.2)
    system_a.answer = answers()
    a = f"a-{secrets.token_hex(4)}"
    declared = {"types": ["user_modify_org", "bpms_instance_change"], "process_codes": ["PROC-1"]}
    env = kafka_env | forward_file(tmp_path, {a: {"url": system_a.url, **declared}})
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    own = ForwardSettings.load()
    consumer: Forward = consumer_of(a, load_systems(own)[a], AddressGuard(own.allowed))()
    monkeypatch.setattr("dingbridge.console.watch.known_consumers", lambda: {consumer.name: type(consumer)})
    settings: ConsumerSettings = consumer_settings(kafka_env, "sqlite:///none.db")

    refused = event_record("e2", "u2")
    await publish(settings, [event_record("e1", "u1"), refused, approval()])
    broken = (b"{", b'{"type":"com.dingbridge.delivery","data":[]}')
    hostile = [refused._replace(value=value) for value in broken]
    await publish(settings, hostile, control_topic(settings, "deliveries"))
    async with console_at(tmp_path, env, monkeypatch, Role.READER) as who, serving(consumer, settings):
        await eventually(lambda: system_a.ids() == ["e1"])

        async def refusal() -> Delivery | None:
            records = await read_topic(settings, control_topic(settings, "deliveries"))
            found = filter(None, (read_delivery(record.value) for record in records))
            return next((delivery for delivery in found if delivery.outcome == "refused"), None)

        origin = "/".join(map(str, (await eventually(refusal)).place))
        headers = (*refused.headers, (REPLAY_HEADER, b"run"), (FROM_HEADER, origin.encode()))
        await publish(settings, [refused._replace(headers=headers)], inbox_topic(settings, consumer.name))
        await eventually(lambda: sorted(system_a.ids()) == ["e1", "e2"])
        first, again = (got for got in system_a.got if got.event_id == "e2")
        assert (first.id, first.body) == (again.id, again.body)
        assert "dingbridge-replay-id" not in first.headers
        assert again.headers["dingbridge-replay-id"] == "run"

        await who.console.feed.start()
        try:
            await eventually(lambda: who.console.feed.state.behind == 0)
            indexed = (await who.console.search.find("")).events
            events = {given_id(event.id): event for event in indexed}
            together = await facts_of_each(who.console, events.values())
            told = {}
            for name, event in events.items():
                [facts] = await facts_of(who.console, [event])
                told[name] = outcome_of(event.place, facts)
                assert [told[name]] == [outcome_of(event.place, one) for one in together[event.place]]
                [again] = replays_of(event.place, facts) if name == "e2" else [None]
                assert again is None or (again.outcome.state, again.outcome.attempts) == ("handled", 1)
                await page(who, "/event", {"source": event.source, "id": event.id})
        finally:
            await who.console.feed.stop()

    assert (told["e1"].state, told["e1"].attempts) == ("handled", 2)
    assert told["e3"].state == "filtered"
    assert (told["e2"].state, told["e2"].attempts) == ("dead", 1)
    last = told["e2"].delivery
    assert last is not None
    assert (last.status, last.outcome, last.answer) == (422, "refused", (REFUSAL + "…" * 200).encode()[:200])

    result = processes.run("forward", "log", "--json", env=env)
    assert (result.returncode, result.stderr) == (0, "")
    found = [orjson.loads(line) for line in result.stdout.splitlines()]
    columns = ("attempt", "outcome", "status")
    assert sorted((given_id(row["event"]), *(row[name] for name in columns)) for row in found) == [
        ("e1", 1, "failed", 500),
        ("e1", 2, "taken", 200),
        ("e2", 1, "refused", 422),
        ("e2", 1, "taken", 200),
        ("e3", 1, "filtered", None),
    ]
    assert [row["at"] for row in found] == sorted(row["at"] for row in found)
    assert {row["system"] for row in found} == {a}
    assert [row["answer"] for row in found if row["answer"]] == ["***(200)"]
    assert {row["replay_id"] for row in found} == {None, "run"}
    assert "张三" not in "".join(capsys.readouterr())
