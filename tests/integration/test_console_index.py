"""The console's index on a real Kafka: filled without a group, and searched, also where it does not reach."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from html import unescape
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from typer.testing import CliRunner

from dingbridge.cli.dlq import app as dlq
from dingbridge.console.access.users import Role
from dingbridge.console.index import feed as feed_module
from dingbridge.console.index.feed import Feed
from dingbridge.console.index.search import Search
from dingbridge.console.index.store import Index
from dingbridge.console.sources.kafka import AskKafka
from dingbridge.events.facts import NO_FACTS
from dingbridge.ingress.journal.folder import open_current
from dingbridge.ingress.journal.rows import Acknowledgement, NewCallback, Parked
from dingbridge.kafka.client import connection, producer
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from tests.integration.console_support import console_at, page
from tests.integration.replay_support import bury, letter_headers, numbered
from tests.integration.worker_support import event_record, publish
from tests.support.hostile_records import UNDECODABLE, odd_copies, odd_letters, send_batch
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "REFRESH_S", 0.2)


class Running(Search):
    """A search, and the feed that fills its index."""

    feed: Feed


@asynccontextmanager
async def running(settings: KafkaSettings, folder: Path) -> AsyncIterator[Running]:
    """The index, caught up."""
    index = Index(folder / "index.db")
    index.open()
    feed = Feed(settings, index)
    await feed.start()
    try:
        await eventually(lambda: feed.state.behind == 0)
        search = Running(settings, index, AskKafka(settings))
        search.feed = feed
        yield search
    finally:
        await feed.stop()
        index.close()


async def test_what_the_index_lacks_is_read_from_the_key_s_one_partition(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    """An index that goes back less far than the topics, and one that has not caught up."""
    await publish(kafka_settings, [event_record(f"e{n}", f"u{n % 10}") for n in range(300)])
    async with running(kafka_settings, tmp_path) as search:
        whole = await search.find("dingcorp1:u3")
        assert (len(whole.events), whole.beyond.records) == (30, 0)
        before = {event.place for event in whole.events}
        search.index.shrink()
        search.index.max_bytes = 1
        search.index.shrink()
        assert search.index.seen() == {}
        await publish(kafka_settings, [event_record("last", "u3")])
        await eventually(lambda: search.index.seen())
        beyond = await search.find("dingcorp1:u3")
        assert {event.place for event in beyond.events} > before
        assert len(beyond.events) == 31
        assert beyond.beyond.keys == ("dingcorp1:u3",)
        assert 30 <= beyond.beyond.records < 300, "one partition of six, not all"
        assert len((await search.find("u3")).events) == 31
        assert len((await search.find("user_modify_org:e13/u3")).events) == 1
        none = await search.find("dingcorp1:nobody")
        assert (none.events, none.beyond.keys) == ([], ("dingcorp1:nobody",))
        await search.feed.stop()
        await publish(kafka_settings, [event_record("later", "u3")])
        assert len((await search.find("u3")).events) == 32


async def test_a_topic_that_is_made_anew_is_read_anew(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    records = [event_record(f"e{n}", f"u{n}") for n in range(30)]
    await publish(kafka_settings, records)
    async with running(kafka_settings, tmp_path) as search:
        topic = f"{kafka_settings.topic_prefix}user_modify_org"
    admin = AIOKafkaAdminClient(**connection(kafka_settings))
    await admin.start()
    try:
        await admin.delete_topics([topic])
        await eventually(lambda: _gone(admin, topic))
    finally:
        await admin.close()
    await publish(kafka_settings, [event_record("new", "u1")])
    async with running(kafka_settings, tmp_path) as search:
        assert [event.id for event in (await search.find("user_modify_org")).events] == [
            "user_modify_org:new/u1"
        ]


async def _gone(admin: AIOKafkaAdminClient, topic: str) -> bool:
    return topic not in await admin.list_topics()


async def test_a_kafka_that_is_away_is_told_in_words(tmp_path: Path) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1")
    index = Index(tmp_path / "index.db")
    index.open()
    feed = Feed(settings, index)
    await feed.start()
    try:
        await eventually(lambda: feed.state.problem)
        found = await Search(settings, index, AskKafka(settings)).find("ding1:u1")
        assert "KAFKA_BOOTSTRAP_SERVERS" in str(found.beyond.problem)
        assert "KAFKA_BOOTSTRAP_SERVERS" in str(feed.state.problem)
        assert feed.state.behind is None
    finally:
        await feed.stop()
        index.close()


# -- Dead letters on the console's pages: whatever stands in a topic, who sees what, and what is parked


OTHER = "ValueError at billing:1 in handle"


SECRET = "words that a handler said of 韩梅梅"


async def test_whatever_stands_in_its_topic_the_index_goes_on_every_page_opens_and_the_command_lists(
    kafka_env, kafka_settings, tmp_path, monkeypatch
):
    """Also past a record that no reader can decode."""
    monkeypatch.setattr(feed_module, "REFRESH_S", 0.2)
    monkeypatch.setattr(feed_module, "AGAIN_S", 0.2)
    topic = f"{kafka_settings.control_prefix}dlq.approval"
    await ensure_topics(kafka_settings, [topic], partitions={topic: 1})
    written = [*odd_letters(), *odd_copies()]
    async with producer(kafka_settings) as sender:
        for value, headers in written:
            await sender.send(topic, value=value, key=b"\xff", headers=headers, partition=0)
        await sender.flush()
    await send_batch(kafka_settings, topic, UNDECODABLE)
    last = [(numbered(1)[0], letter_headers(1, OTHER, reason=SECRET))]
    await bury(kafka_settings, "approval", last)
    async with console_at(tmp_path, kafka_env, monkeypatch, Role.READER) as who:
        await who.console.feed.start()
        try:

            def complete() -> bool:
                waiting = who.console.index.waiting_letters().get("approval", (0, 0))[0]
                return who.console.feed.state.behind == 0 and waiting > 100  # those that no note settles

            await eventually(complete, what="the index is complete")
            for role in (Role.READER, Role.VIEWER):
                await who.log_in(role)
                await page(who, "/")
                groups = await page(who, "/dead-letters")
                for link in sorted(set(re.findall(r'href="(/dead-letters/[^"]+)"', groups)))[:20]:
                    await page(who, unescape(link))
                newest = await page(who, "/dead-letters/letters", {"consumer": "approval", "error_is": OTHER})
                assert (SECRET in newest) is (role is Role.READER)
        finally:
            await who.console.feed.stop()
    listed = await asyncio.to_thread(
        CliRunner().invoke, dlq, ["list", "approval", "--all", "--json", "--limit", "0"]
    )
    assert (listed.exit_code, len(listed.stdout.splitlines()) > 50) == (0, True), listed.output[-2000:]
    for offset in range(0, len(written), 40):
        shown = await asyncio.to_thread(CliRunner().invoke, dlq, ["show", "approval", f"0/{offset}"])
        missing = "there is no dead letter" in str(shown.exception)  # a note stands there
        assert shown.exit_code == 0 or missing, (offset, shown.exception)


async def test_what_is_parked_is_counted_by_reason_also_while_kafka_is_away(kafka_env, tmp_path, monkeypatch):
    root = tmp_path / "journal"
    root.mkdir()
    with closing(open_current(root)) as file:
        parked = [Parked(seq, "dingtalk.x", "rights", 1_764_000_000_000) for seq in range(1, 8)]
        body = NewCallback(1_764_000_000_000, "default", "http", b"{}", NO_FACTS)
        file.commit([body] * 7, None, [Acknowledgement(7, parked)])
    env = {**kafka_env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    async with console_at(tmp_path, env, monkeypatch, Role.OPERATOR) as who:
        listed = await page(who, "/dead-letters")
        assert "127.0.0.1:1" in listed, "Kafka is away, and the journal is here"
        assert re.search(r">7</td><th [^>]*>rights</th>", listed)
        assert "dingbridge journal retry" in listed
