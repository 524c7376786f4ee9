"""Tail: what is sent is filtered, bounded, told once, and goes on where a lost connection ended."""

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
        self.who.console.index.add(made, {(f"t.{event_type}", 0): self.next})
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
async def stream(source: Source, query: str = "", **headers: str) -> AsyncIterator[ClientResponse]:
    async with source.who.client.get(f"/tail/events{query}", headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        yield answer


async def told(answer: ClientResponse) -> tuple[list[str], int, str]:
    """Event ids of the next message, how many were left out, and the message's id."""
    lines: dict[str, str] = {}
    while "data" not in lines:
        name, _, value = (await answer.content.readline()).decode().strip().partition(": ")
        lines[name] = value
    message: dict[str, Any] = orjson.loads(lines["data"])
    return [row["place"].rpartition(":")[2] for row in message["rows"]], message["left_out"], lines["id"]


async def test_events_come_as_they_are_filtered_and_none_twice(source: Source) -> None:
    async with stream(source, "?type=user_add_org&subject=u1&corp=ding1") as answer:
        source.come(1, "user_modify_org")
        source.come(1, user="u2")
        source.come(2)
        assert (await told(answer))[:2] == (["2", "3"], 0)
        source.come(1)
        assert (await told(answer))[0] == ["4"]
    async with asyncio.timeout(60):
        while source.who.console.feed._watching:
            source.come(1)
            await asyncio.sleep(0.01)


async def test_what_came_between_the_page_and_the_stream_or_while_it_was_lost_is_told(source: Source) -> None:
    source.come(3, silently=True)
    async with stream(source, f"?after={NOW_MS}") as answer:
        ids, _, last = await told(answer)
        assert ids == ["1", "2"]
    source.come(2, silently=True)
    async with stream(source, f"?after={NOW_MS}", **{"Last-Event-ID": last}) as answer:
        assert (await told(answer))[0] == ["3", "4"]


async def test_a_burst_is_bounded_and_what_is_left_out_is_counted(source: Source) -> None:
    async with stream(source) as answer:
        source.come(MOST_WAITING + 700)
        ids, left_out, _ = await told(answer)
        assert len(ids) == MOST_ROWS
        assert ids[-1] == str(source.next - 1)
        assert left_out + len(ids) == source.next


async def test_without_a_script_the_page_has_the_newest_of_the_index(source: Source) -> None:
    source.come(2)
    source.come(1, user="<i>u2</i>")
    page = await (await source.who.get("/tail?type=user_add_org")).text()
    assert "Without JavaScript this page does not follow" in page
    assert page.count(">t.user_add_org:0:") == 3
    assert page.index(">t.user_add_org:0:2") < page.index(">t.user_add_org:0:1")
    assert "&lt;i&gt;u2&lt;/i&gt;" in page
    page = await (await source.who.get("/tail?subject=u1")).text()
    assert page.count(">t.user_add_org:0:") == 2


async def test_only_so_many_tails_are_open(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.pages.tail.MOST_STREAMS", 1)
    async with stream(source):
        assert (await source.who.get("/tail/events")).status == 503


@pytest.mark.parametrize("end", ["log out", "another role", "users file unreadable"])
async def test_a_tail_ends_with_its_session(source: Source, end: str) -> None:
    who = source.who
    async with stream(source) as answer:
        source.come(1)
        assert (await told(answer))[0] == ["0"]
        if end == "log out":
            assert (await who.post("/logout", {"csrf": await who.csrf()})).status == 303
        elif end == "another role":
            who.console.users.set_password("viewer", PASSWORD, Role.READER)
        else:
            who.console.users.path.write_text("users = [")
        source.come(1)
        assert b"data:" not in await answer.content.read()
