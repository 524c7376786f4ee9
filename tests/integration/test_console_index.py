"""The console's index on a real Kafka: filled without a group, and searched, also where it does not reach."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from dingbridge.console.index import feed as feed_module
from dingbridge.console.index.feed import Feed
from dingbridge.console.index.search import Search
from dingbridge.console.index.store import Index
from dingbridge.console.sources.kafka import AskKafka
from dingbridge.kafka.client import connection
from dingbridge.settings import KafkaSettings
from tests.integration.worker_support import event_record, publish
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


async def test_a_restarted_console_goes_on_where_the_index_ends(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    await publish(kafka_settings, [event_record(f"e{n}", f"u{n}") for n in range(5)])
    async with running(kafka_settings, tmp_path) as search:
        spans = search.index.spans()
    await publish(kafka_settings, [event_record(f"e{n}", f"u{n}") for n in range(5, 9)])
    async with running(kafka_settings, tmp_path) as search:
        assert search.index.seen()["user_modify_org"].count == 9
        again = search.index.spans()
        assert {place: span.first for place, span in spans.items()}.items() <= {
            place: span.first for place, span in again.items()
        }.items()
        assert sum(span.next for span in again.values()) == 9


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
