"""Tail: what is sent begins with the newest, is filtered, bounded, and told once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse

from console.access.users import Role
from console.index.records import EventEntry
from console.index.subscription import MOST_WAITING
from console.pages.tail import MOST_ROWS
from tests.unit.console.index_support import entries, event_record
from tests.unit.console.support import PASSWORD, Browser, browser, settings_in, use_quick_hasher

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
    use_quick_hasher(monkeypatch)
    monkeypatch.setattr("console.pages.tail.GATHER_S", 0)
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
        monkeypatch.setattr("console.pages.tail.row_of", faulty)
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


async def test_only_so_many_tails_are_open(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.pages.tail.MOST_STREAMS", 1)
    async with stream(source):
        assert (await source.who.get("/tail/events")).status == 503


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
