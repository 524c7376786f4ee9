"""Whatever stands in a topic, the index takes it or leaves it, and every page opens."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.console.access.users import Role
from dingbridge.console.index.after import after
from dingbridge.console.index.records import entry_of
from dingbridge.console.index.search import Search
from dingbridge.console.sources.kafka import AskKafka
from tests.support.hostile_records import (
    ODD_JSON,
    event,
    letter_headers,
    odd_copies,
    odd_events,
    odd_letters,
)
from tests.support.sizes import sized
from tests.unit.console.index_support import SETTINGS, opened
from tests.unit.console.support import browser, settings_in

TOPICS = ("t.user_modify_org", "t.unclassified", "ctl.dlq.a", "ctl.inbox.a", "ctl.changes")
NAMES = [name for name, _ in letter_headers()] + ["dingbridge-dlq-settled", "dingbridge-replay-from", "x"]


def record(
    topic: str, offset: int, value: bytes | None, headers: Any = (), at_ms: int = 0, key: bytes | None = None
) -> ConsumerRecord[Any, Any]:
    return ConsumerRecord(topic, 0, offset, at_ms, 0, key, value, None, 0, 0, list(headers))


def every() -> list[tuple[bytes | None, Any]]:
    plain: list[bytes | None] = [*odd_events(), *ODD_JSON]
    return [*((value, ()) for value in plain), *odd_letters(), *odd_copies()]


def test_every_record_is_taken_or_left_in_every_topic(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as index:
        for topic in TOPICS:
            records = [record(topic, n, value, headers) for n, (value, headers) in enumerate(every())]
            entries = [entry_of(one, SETTINGS) for one in records]
            index.add(filter(None, entries), {(topic, 0): (0, len(records))})
        assert index.waiting_letters()["a"][0] > 300
        read(index)


def read(index: Any) -> None:
    """As the pages do."""
    search = Search(SETTINGS, index, AskKafka(SETTINGS))
    newest = asyncio.run(search.newest("", "", ""))
    asyncio.run(search.of_event("/dingtalk/ding1/default", event()["id"]))
    after(index, [[one] for one in newest])
    assert index.spans()
    for answer in (index.seen(), index.waiting_letters()):
        assert isinstance(answer, dict)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@st.composite
def values(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return draw(st.binary(max_size=40))
    changes = draw(st.dictionaries(st.sampled_from(sorted(event())), ANY_JSON, max_size=3))
    try:
        return orjson.dumps({**event(), **changes})
    except TypeError:  # an integer of more than 64 bits, half a surrogate pair
        return str(changes).encode(errors="replace")


@given(
    st.sampled_from(TOPICS),
    st.none() | values(),
    st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.binary(max_size=40)), max_size=9),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.none() | st.binary(max_size=40),
)
def test_any_record_is_taken_or_left(
    tmp_path_factory: pytest.TempPathFactory,
    topic: str,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    at_ms: int,
    key: bytes | None,
) -> None:
    entry = entry_of(record(topic, 7, value, headers, at_ms, key), SETTINGS)
    with closing(opened(tmp_path_factory.mktemp("index"))) as index:
        index.add([entry] if entry is not None else [], {(topic, 0): (7, 8)})
        read(index)


@pytest.mark.parametrize(("role", "first"), [(Role.VIEWER, 0), (Role.READER, 1)])
async def test_the_page_of_every_event_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role, first: int
) -> None:
    """Half of them for each role."""
    standing: list[ConsumerRecord[Any, Any]] = []

    async def found(*_: Any) -> Any:
        return standing[-1]

    monkeypatch.setattr("dingbridge.console.life.event.record_at", found)
    async with browser(settings_in(tmp_path, topic_prefix="t.", control_prefix="ctl.")) as who:
        await who.log_in(role)
        answers = set()
        for number, value in enumerate([*odd_events(), *ODD_JSON][first :: sized(2, 2, quick=12)]):
            standing.append(record("t.user_modify_org", number, value))
            entry = entry_of(standing[-1], SETTINGS)
            answer = await who.get("/event", params={"at": f"t.user_modify_org:0:{number}"})
            assert answer.status == (404 if entry is None else 200), (value or b"")[:300]
            answers.add(answer.status)
        assert answers == {200, 404}
