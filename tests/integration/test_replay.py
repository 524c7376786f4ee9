"""``dingbridge replay``: a range of time once more to one consumer alone; also when it is killed."""

import asyncio
import json
import secrets
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from dingbridge.kafka.client import connection
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.worker.delivery import hash_key
from tests.integration.replay_support import headers_of, inbox, killed, number, numbered, publish_at
from tests.integration.worker_support import (
    EffectConsumer,
    consumer_settings,
    installed,
    named,
    publish,
    rows,
    serving,
)
from tests.support.kafka_reader import read_topic
from tests.support.waiting import eventually

MINUTE = 60_000
TOPIC = "user_modify_org"


def iso(at_ms):
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def in_one_line(text):
    """What typer has drawn in a frame."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def name() -> str:
    return f"t-{secrets.token_hex(4)}"


@pytest.fixture
def env(kafka_env, tmp_path, name):
    """The consumer is installed: it reads one topic, user_modify_org."""
    return kafka_env | installed(tmp_path, name)


@pytest.fixture
def replay(processes, env, name):
    """Runs ``dingbridge replay <consumer> …``; with ``--json`` its answer."""

    async def run(*arguments, code=0, yes=("--yes",)):
        result = await asyncio.to_thread(processes.run, "replay", name, *arguments, *yes, env=env)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return json.loads(result.stdout) if "--json" in arguments else result

    return run


@pytest.fixture
def base() -> int:
    """An hour ago, a whole minute, epoch ms."""
    return (time.time_ns() // 1_000_000 // MINUTE - 60) * MINUTE


async def test_the_records_of_the_range_are_copied_as_they_were_and_counted_before(
    kafka_settings, name, replay, base
):
    records = numbered(10, users=3)
    await publish_at(kafka_settings, [(r, base + n * MINUTE) for n, r in enumerate(records)])
    before = await read_topic(kafka_settings, event_topic(kafka_settings, TOPIC))
    span = ("--since", iso(base + 2 * MINUTE), "--until", iso(base + 7 * MINUTE))

    counted = await replay(*span, "--dry-run")
    assert "to send    5" in counted.stdout
    assert f"records    5\t{event_topic(kafka_settings, TOPIC)}" in counted.stdout
    await replay(*span, yes=(), code=2)
    assert await inbox(kafka_settings, name) == [], "without --yes, and nobody to be asked"

    sent = await replay(*span)
    assert "sent       5" in sent.stdout
    assert sent.stdout.index("to send") < sent.stdout.index("sent   ")
    assert "(100 %)" in sent.stderr
    copies = await inbox(kafka_settings, name)
    assert sorted(map(number, copies)) == [2, 3, 4, 5, 6], "from is included, to is not"
    for copy in copies:
        record, headers = records[number(copy)], headers_of(copy)
        assert (copy.key, copy.value) == (record.key, record.value)
        assert headers.items() >= {k: v.decode() for k, v in record.headers}.items()
        assert headers["dingbridge-replay-id"] in sent.stdout
        assert headers["dingbridge-replay-from"].startswith(f"{event_topic(kafka_settings, TOPIC)}/")
    assert await read_topic(kafka_settings, event_topic(kafka_settings, TOPIC)) == before, (
        "nobody else sees it"
    )

    same = await replay(*span, "--json")
    assert (same["sent"], same["replay_id"]) == (5, headers["dingbridge-replay-id"]), (
        "the consumer drops them"
    )
    other = await replay(*span, "--json", "--run", "2")
    assert other["sent"] == 5
    assert other["replay_id"] != same["replay_id"]


async def test_single_records_are_copied_whenever_they_were_published(kafka_settings, name, replay, base):
    topic = event_topic(kafka_settings, TOPIC)
    await publish_at(
        kafka_settings, [(r, base - n * 1000 * MINUTE) for n, r in enumerate(numbered(10, users=3))]
    )
    wanted = (await read_topic(kafka_settings, topic))[2:9:3]
    places = [f"{record.topic}:{record.partition}:{record.offset}" for record in wanted]
    named = [part for place in places for part in ("--record", place)]

    sent = await replay(*named, "--json")
    assert (sent["sent"], sent["records"]) == (3, {topic: 3})
    assert sorted(
        headers_of(copy)["dingbridge-replay-from"] for copy in await inbox(kafka_settings, name)
    ) == [place.replace(":", "/") for place in sorted(places)]
    assert (await replay(*named, "--json"))["replay_id"] == sent["replay_id"]
    assert (await replay("--record", places[0], "--json"))["replay_id"] != sent["replay_id"]
    assert len(await inbox(kafka_settings, name)) == 7

    absent = await replay("--record", f"{topic}:0:99", code=1)
    assert f"there is no record {topic}:0:99" in absent.stderr
    for refused in (["--record", f"{topic}:0"], [*named, "--since", "2h"], [*named, "--key", "a:b"], []):
        assert "Usage" in (await replay(*refused, code=2)).stderr
    stranger = await replay("--record", f"{kafka_settings.topic_prefix}user_add_org:0:0", code=2)
    assert "does not read" in in_one_line(stranger.stderr)


async def test_only_the_key_and_the_types_that_are_named(kafka_settings, name, replay, base):
    records = [*numbered(6, users=3), *numbered(2, users=2, event_type="user_add_org")]
    await publish_at(kafka_settings, [(r, base + n) for n, r in enumerate(records)])
    for key in ("dingcorp1:u1", f"#{hash_key(b'dingcorp1:u1')}"):
        sent = await replay("--since", "2h", "--key", key, "--events", TOPIC, "--json")
        assert sent["records"] == {event_topic(kafka_settings, TOPIC): 2}
    assert [number(copy) for copy in await inbox(kafka_settings, name)] == [1, 4, 1, 4]
    stranger = await replay("--since", "2h", "--events", "user_add_org", code=2)
    assert f"it reads {TOPIC}" in in_one_line(stranger.stderr)


async def test_the_consumer_applies_them_once_more_and_no_other_does(
    kafka_env, kafka_settings, tmp_path, processes, replay, env, name
):
    mine = named(EffectConsumer, name=name)()
    other = named(EffectConsumer)()
    urls = [f"sqlite:///{tmp_path / f'{which}.db'}" for which in ("mine", "other")]
    records = numbered(30)
    since = datetime.now(UTC).replace(microsecond=0).isoformat()

    async def counts(url):
        return Counter(Counter(event for event, _ in await rows(url)).values())

    async with (
        serving(mine, consumer_settings(kafka_env, urls[0])),
        serving(other, consumer_settings(kafka_env, urls[1])),
    ):
        await publish(kafka_settings, records)
        for url in urls:
            await eventually(lambda url=url: _is(counts(url), {1: 30}), 120, "all are applied")
        await killed(processes, env, 2, "replay", name, "--since", since, "--yes")
        sent = await replay("--since", since, "--json")
        assert sent["sent"] == 30, "also those 20 that were copied before the kill"
        await eventually(lambda: _is(counts(urls[0]), {2: 30}), 120, "all are applied twice, none thrice")
        # what was published after the copies is handled after them: nothing else is under way
        await publish(kafka_settings, numbered(35)[30:])
        for url, expected in zip(urls, ({2: 30, 1: 5}, {1: 35}), strict=True):
            await eventually(lambda url=url, e=expected: _is(counts(url), e), 120, str(expected))


async def _is(counting, expected):
    return await counting == expected


async def test_a_range_that_retention_has_reached_is_refused_unless_what_is_left_is_asked_for(
    kafka_settings, name, replay, base
):
    await publish_at(kafka_settings, [(r, base + n * MINUTE) for n, r in enumerate(numbered(6, users=1))])
    topic = event_topic(kafka_settings, TOPIC)
    [partition] = {r.partition for r in await read_topic(kafka_settings, topic)}
    admin = AIOKafkaAdminClient(**connection(kafka_settings))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=3)})
    finally:
        await admin.close()
    refused = await replay("--since", iso(base), code=1)
    there = iso(base + 3 * MINUTE).replace("+00:00", "Z")
    assert f"--since {there}" in refused.stderr
    assert "--skip-deleted" in refused.stderr
    assert (await replay("--since", iso(base), "--skip-deleted", "--dry-run", "--json"))["to_send"] == 3
    assert (await replay("--since", there, "--json"))["sent"] == 3
    assert [number(copy) for copy in await inbox(kafka_settings, name)] == [3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--since", "2026-11-25T08:00"], 2, "has no time zone"),
        (["--since", "1h", "--until", "2h"], 2, "--until must be later than --since"),
        (["--since", "1h"], 0, "nothing was published to it yet"),
    ],
    ids=["no-zone", "order", "no-topic"],
)
async def test_mistakes_are_said_in_words(replay, arguments, code, words):
    assert words in in_one_line((await replay(*arguments, code=code)).stderr)
