"""Find gives what was asked for, and no more: compared with looking at every event."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.console.index import search
from dingbridge.console.index.query import Query, parse
from dingbridge.console.index.records import EventEntry, moment
from dingbridge.console.index.search import Search, keys_of
from dingbridge.console.index.store import Index
from dingbridge.console.sources.kafka import AskKafka
from dingbridge.errors import KafkaUnavailable
from tests.unit.console.index_support import SETTINGS, entries, event_record, opened

DAY = 86_400_000
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("2026-11-27", "2026-11-27", "2026-11-28"),
        ("2026-11-27T10", "2026-11-27T10:00", "2026-11-27T11:00"),
        ("2026-11-27T10:05", "2026-11-27T10:05", "2026-11-27T10:06"),
        ("2026-11-27T10:05:09", "2026-11-27T10:05:09", "2026-11-27T10:05:10"),
        ("2026-11-27T10:00..11:00", "2026-11-27T10:00", "2026-11-27T11:00"),
        ("2026-11-27..2026-11-28", "2026-11-27", "2026-11-29"),
        ("2026-11-27T10:00..2026-11-28T09:30", "2026-11-27T10:00", "2026-11-28T09:30"),
        ("2026-11-27T18:00+08:00..2026-11-27T19:00+08:00", "2026-11-27T10:00", "2026-11-27T11:00"),
        ("2026-11-27T18:00+08:00..19:00", "2026-11-27T10:00", "2026-11-27T11:00"),
    ],
)
def test_a_time_is_the_range_that_it_names(text: str, since: str, until: str) -> None:
    assert parse(f"who {text}") == Query(("who",), at(since), at(until))


@pytest.mark.parametrize(
    ("text", "zone", "since", "until"),
    [
        ("2026-11-27", "Asia/Shanghai", "2026-11-26T16:00", "2026-11-27T16:00"),
        ("2026-11-27T18:00..19:00", "Asia/Shanghai", "2026-11-27T10:00", "2026-11-27T11:00"),
        ("2026-11-27T18:00Z..19:00", "Asia/Shanghai", "2026-11-27T18:00", "2026-11-27T19:00"),
        ("2026-10-25", "Europe/Berlin", "2026-10-24T22:00", "2026-10-25T23:00"),
    ],
)
def test_a_time_without_a_zone_is_in_the_person_s(text: str, zone: str, since: str, until: str) -> None:
    assert parse(text, ZoneInfo(zone)) == Query((), at(since), at(until))


@pytest.mark.parametrize(
    "text", ["2026-13-45", "12:00", "..", "user-1..2", "2026-11-27T10:00..x", "0001-01-01T00:00+14:00"]
)
def test_what_is_no_time_is_looked_for_as_it_is(text: str) -> None:
    assert parse(text) == Query((text,))


@given(st.text())
def test_every_text_is_a_question(text: str) -> None:
    query = parse(text)
    assert set(query.terms) <= set(text.split())


EVENTS = st.tuples(
    st.sampled_from(["user_add_org", "user_leave_org"]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 4),
)
TERMS = st.sampled_from(
    ["user_add_org", "user_leave_org", "ding1", "u0", "u1", "ding1:u1", "user_add_org:e1/u1", "e2", "none"]
)


@given(
    st.lists(EVENTS, max_size=8),
    st.lists(TERMS, max_size=2, unique=True),
    st.none() | st.integers(0, 5),
    st.none() | st.integers(0, 5),
)
def test_find_finds_what_looking_at_every_event_finds(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[str, int, int, int]],
    terms: list[str],
    since: int | None,
    until: int | None,
) -> None:
    made = entries(
        *(
            event_record(event_type, f"e{number}", f"u{user}", offset, at_ms=day * DAY)
            for offset, (event_type, number, user, day) in enumerate(events)
        )
    )
    query = Query(
        tuple(terms),
        moment(since * DAY) if since is not None else None,
        moment(until * DAY) if until is not None else None,
    )
    index = opened(tmp_path_factory.mktemp("index"))
    index.add(made, {})
    found, slow = searching(index)._in_index(query)
    assert not slow
    index.close()
    assert {event.place for event in found} == {
        entry.event.place for entry in made if isinstance(entry, EventEntry) and matches(entry, query)
    }
    assert found == sorted(found, key=lambda event: event.received_time, reverse=True)


def matches(entry: EventEntry, query: Query) -> bool:
    event = entry.event
    known = {*entry.ids, event.type, event.corp_id, event.key, f"{event.corp_id}:{event.subject}"}
    return set(query.terms) <= known and query.covers(event.time, event.received_time)


def searching(index: Index) -> Search:
    return Search(SETTINGS, index, AskKafka(SETTINGS))


def test_the_latest_come_first_and_it_says_that_there_are_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_EVENTS", 3)
    index = opened(tmp_path)
    index.add(entries(*(event_record("user_add_org", f"e{n}", "u", n, at_ms=n) for n in range(5))), {})
    found = asyncio.run(searching(index).find("user_add_org"))
    index.close()
    assert [event.offset for event in found.events] == [4, 3, 2]
    assert found.more
    assert found.beyond == search.Beyond()


def test_a_search_that_takes_too_long_says_so_and_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "INDEX_LIMIT_S", -1)
    index = opened(tmp_path)
    records = [event_record("user_add_org", f"e{n}", "u", n, at_ms=n) for n in range(3000)]
    index.add(entries(*records), {("t.user_add_org", n): (0, 1) for n in range(9000)})
    found = asyncio.run(searching(index).find("1970-01-01..1970-01-02"))
    assert (found.events, found.slow, found.beyond) == ([], True, search.Beyond())
    assert asyncio.run(searching(index).newest("", "ding1", "u")) == []
    index.close()


def test_all_records_of_one_event_and_no_others(tmp_path: Path) -> None:
    long = "x" * 2000  # stands as its hash
    index = opened(tmp_path)
    records = [event_record("user_add_org", name, "u", n) for n, name in enumerate(["e1", long, "e1", "e2"])]
    made = entries(*records)
    index.add(made, {})
    try:
        of_event = searching(index).of_event
        twice = asyncio.run(of_event("/dingtalk/ding1/default", "user_add_org:e1/u"))
        assert [event.offset for event in twice] == [0, 2]
        hashed = asyncio.run(of_event("/dingtalk/ding1/default", f"user_add_org:{long}/u"))
        assert [event.offset for event in hashed] == [1]
        assert asyncio.run(of_event(hashed[0].source, hashed[0].id)) == hashed
        assert asyncio.run(of_event("/dingtalk/other/default", "user_add_org:e1/u")) == []
    finally:
        index.close()


@pytest.mark.parametrize(
    ("terms", "keys", "types"),
    [
        (["u1"], ["ding1:u1", "ding2:u1"], []),
        (["u1", "ding2"], ["ding2:u1"], []),
        (["ding9:u1"], ["ding9:u1"], []),
        (["user_add_org", "u1", "ding1"], ["ding1:u1"], ["user_add_org"]),
        (["user_add_org:e1/u1"], ["ding1:u1", "ding2:u1"], ["user_add_org"]),
        (["bpms_instance_change:e1"], [], ["bpms_instance_change"]),
        (["user_add_org"], [], ["user_add_org"]),
        ([], [], []),
    ],
)
def test_which_keys_a_question_may_mean(terms: list[str], keys: list[str], types: list[str]) -> None:
    assert keys_of(terms, ["ding1", "ding2"]) == (tuple(keys), frozenset(types))


async def test_of_many_companies_few_keys_are_read_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_topics(_: object) -> dict[str, int]:
        raise KafkaUnavailable("down")

    monkeypatch.setattr(search, "existing_topics", no_topics)
    companies = [f"ding{n}" for n in range(search.MOST_KEYS + 1)]
    monkeypatch.setattr(Search, "companies", lambda _: companies)
    index = opened(tmp_path)
    try:
        beyond = (await searching(index).find("u1")).beyond
        assert (len(beyond.keys), beyond.stopped) == (search.MOST_KEYS, True)
        beyond = (await searching(index).find("u1 ding20")).beyond
        assert (beyond.keys, beyond.stopped) == (("ding20:u1",), False)
    finally:
        index.close()


def test_an_event_that_came_late_is_found_by_either_time() -> None:
    query = parse("2026-11-27T12:00")
    assert query.covers(NOON, NOON + timedelta(hours=5))
    assert query.covers(NOON - timedelta(hours=5), NOON)
    assert not query.covers(NOON - timedelta(hours=1), NOON + timedelta(hours=1))
