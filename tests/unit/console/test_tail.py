"""Tail: what is sent begins with the newest, is filtered, bounded, and told once; history is no news."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from dingbridge.console.access.users import Role
from dingbridge.console.index import feed as feed_module
from dingbridge.console.index.feed import Feed
from dingbridge.console.index.records import EventEntry
from dingbridge.console.index.store import Index
from dingbridge.console.index.subscription import MOST_WAITING
from dingbridge.console.pages.tail import MOST_OF_ONE, MOST_ROWS
from dingbridge.errors import BridgeError
from tests.support.waiting import eventually
from tests.unit.console.index_support import SETTINGS, entries, event_record, opened
from tests.unit.console.support import PASSWORD, Browser, browser, settings_in

NOW_MS = 4_000_000_000_000
"""Later than any clock that runs these tests."""


class Source:
    """Events into the index, and to those who look on."""

    def __init__(self, who: Browser) -> None:
        self.who, self.next = who, 0

    def come(
        self, count: int, event_type: str = "user_add_org", user: str = "u1", *, silently: bool = False
    ) -> None:
        records = [
            event_record(event_type, f"e{n}", user, n, at_ms=NOW_MS + n)
            for n in range(self.next, self.next + count)
        ]
        self.next += count
        made = entries(*records)
        self.who.console.index.add(made, {(f"t.{event_type}", 0): (0, self.next)})
        for entry in made if not silently else ():
            for subscription in tuple(self.who.console.feed._watching):
                assert isinstance(entry, EventEntry)
                subscription.offer(entry.event)


@pytest.fixture
async def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Source]:
    monkeypatch.setattr("dingbridge.console.pages.tail.GATHER_S", 0)
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.VIEWER)
        yield Source(who)


@asynccontextmanager
async def stream(source: Source, query: str = "") -> AsyncIterator[ClientResponse]:
    async with source.who.client.get(f"/tail/events{query}") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        yield answer


async def told(answer: ClientResponse) -> tuple[list[str], int]:
    """Event ids of the next message, and how many were left out."""
    lines: dict[str, str] = {}
    while "data" not in lines:
        name, _, value = (await answer.content.readline()).decode().strip().partition(": ")
        lines[name] = value
    message: dict[str, Any] = orjson.loads(lines["data"])
    return [row["place"].rpartition(":")[2] for row in message["rows"]], message["left_out"]


async def test_events_come_as_they_are_filtered_and_none_twice(source: Source) -> None:
    async with stream(source, "?type=user_add_org&subject=u1&corp=ding1") as answer:
        assert await told(answer) == ([], 0)
        source.come(1, "user_modify_org")
        source.come(1, user="u2")
        source.come(2)
        assert await told(answer) == (["2", "3"], 0)
        source.come(1)
        assert await told(answer) == (["4"], 0)
    async with asyncio.timeout(60):
        while source.who.console.feed._watching:
            source.come(1)
            await asyncio.sleep(0.01)


async def test_each_connection_begins_with_the_newest_events(source: Source) -> None:
    source.come(3)
    source.come(1, user="u2")
    for _ in range(2):
        async with stream(source, "?subject=u1") as answer:
            assert await told(answer) == (["0", "1", "2"], 0)


async def test_a_fault_of_ours_ends_the_stream_and_nothing_else_is_sent_into_it(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(_: Any) -> Any:
        raise ValueError("private words")

    async with stream(source) as answer:
        assert await told(answer) == ([], 0)
        monkeypatch.setattr("dingbridge.console.pages.tail.row_of", faulty)
        source.come(1)
        assert (await answer.content.read()).strip() == b""


async def test_a_burst_is_bounded_and_what_is_left_out_is_counted(source: Source) -> None:
    async with stream(source) as answer:
        await told(answer)
        source.come(MOST_WAITING + 700)
        ids, left_out = await told(answer)
        assert len(ids) == MOST_ROWS
        assert ids[-1] == str(source.next - 1)
        assert left_out + len(ids) == source.next


async def test_only_so_many_tails_of_one_user_are_open_and_others_have_theirs(source: Source) -> None:
    who = source.who
    async with AsyncExitStack() as opened_tails:
        for _ in range(MOST_OF_ONE):
            await opened_tails.enter_async_context(stream(source))
        refused = await who.get("/tail/events")
        assert (refused.status, "close one" in await refused.text()) == (429, True)
        await who.log_in(Role.READER)
        async with stream(source) as answer:
            assert await told(answer) == ([], 0)
    await who.log_in(Role.VIEWER)

    async def again() -> bool:
        """As soon as the connections are gone; nothing has been sent into them meanwhile."""
        async with who.client.get("/tail/events") as answer:
            return answer.status == 200

    await eventually(again)


@pytest.mark.parametrize("end", ["log out", "another role", "users file unreadable"])
async def test_a_tail_ends_with_its_session(source: Source, end: str) -> None:
    who = source.who
    async with stream(source) as answer:
        await told(answer)
        source.come(1)
        assert await told(answer) == (["0"], 0)
        if end == "log out":
            assert (await who.post("/logout", {"csrf": await who.csrf()})).status == 303
        elif end == "another role":
            who.console.users.set_password("viewer", PASSWORD, Role.READER)
        else:
            who.console.users.path.write_text("users = [")
        source.come(1)
        assert b"data:" not in await answer.content.read()


class Kafka:
    """A cluster of one partition, and the consumer that reads it."""

    partition = TopicPartition("t.user_add_org", 0)

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster, self.fails, self.at = "one", False, 0
        self.log: list[ConsumerRecord[Any, Any]] = []

        async def topics(*_: Any) -> dict[str, int]:
            return {"t.user_add_org": 1}

        async def origin(_: Feed) -> str:
            return self.cluster

        monkeypatch.setattr(feed_module, "AIOKafkaConsumer", lambda **_: self)
        monkeypatch.setattr(feed_module, "existing_topics", topics)
        monkeypatch.setattr(Feed, "_origin", origin)
        for name in ("GATHER_MS", "REFRESH_S", "AGAIN_S"):
            monkeypatch.setattr(feed_module, name, 0)

    def holds(self, *users: str) -> None:
        self.log = []
        for user in users:
            self.come(user)

    def come(self, user: str) -> None:
        offset = len(self.log)
        self.log.append(event_record("user_add_org", f"e{offset}", user, offset, at_ms=NOW_MS))

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assign(self, _: Any) -> None: ...

    def seek(self, _: Any, offset: int) -> None:
        self.at = offset

    def highwater(self, _: Any) -> int:
        return len(self.log)

    async def position(self, _: Any) -> int:
        return self.at

    async def beginning_offsets(self, partitions: Any) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Any) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, len(self.log))

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[ConsumerRecord[Any, Any]]]:
        await asyncio.sleep(0)
        if self.fails:
            self.fails = False
            raise KafkaError("away")
        begin = self.at if self.at <= len(self.log) else 0
        self.at = len(self.log)
        return {self.partition: self.log[begin:]} if self.log[begin:] else {}


@pytest.mark.parametrize("anew", ["the topic", "the cluster"])
async def test_what_is_read_again_since_kafka_was_made_anew_is_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: str
) -> None:
    kafka = Kafka(monkeypatch)
    kafka.holds("a", "b", "c")

    def one_more() -> set[str | None]:
        """One more comes; whose events have been told meanwhile."""
        kafka.come("later")
        return {event.subject for event in events.take()[0]}

    with closing(opened(tmp_path)) as index:
        feed = Feed(SETTINGS, index)
        await feed.start()
        with feed.subscribe(lambda _: True) as events:
            await eventually(lambda: held(index) == 3)
            assert not {"a", "b", "c"} & await eventually(one_more)
            if anew == "the cluster":
                kafka.cluster, kafka.fails = "two", True
            kafka.holds("x", "y")
            await eventually(lambda: held(index) == 2)
            assert not {"x", "y"} & await eventually(one_more)
        await feed.stop()


def held(index: Index) -> int:
    """How many events are in the index; -1 while it is made anew."""
    try:
        return sum(seen.count for seen in index.seen().values())
    except BridgeError:
        return -1
