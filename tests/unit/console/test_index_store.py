"""The index holds what the topics hold, whatever happens to its process; it is rebuilt when it must be."""

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.console.index import store
from dingbridge.console.index.records import entry_of, moment
from dingbridge.console.index.store import Index
from dingbridge.console.index.trend import STEP_S, add_freshness, trend
from dingbridge.console.index.trend import STEPS as OF_A_DAY
from dingbridge.errors import BridgeError
from dingbridge.events.envelope import Received, to_records
from tests.unit.console.index_support import (
    CONTENT,
    SETTINGS,
    content,
    entries,
    event_record,
    kafka_record,
    opened,
)

TYPES = ("user_add_org", "user_leave_org")


DAY = 86_400_000


def topic_of(kind: int, offset: int, at_ms: int, user: int) -> ConsumerRecord[Any, Any]:
    """The record at ``offset`` of one of four topics: events of two types, dead letters, an inbox."""
    if kind < 2:
        return event_record(TYPES[kind], f"e{user % 3}", f"u{user}", offset, at_ms=at_ms)
    place = {"dingbridge_dlq_topic": "t.user_add_org", "dingbridge_dlq_partition": "0"}
    if kind == 2 and user == 0:
        return kafka_record("ctl.dlq.a", 0, offset, b"[0,1]", at_ms=at_ms, dingbridge_dlq_settled="run")
    if kind == 2:
        return kafka_record(
            "ctl.dlq.a", 0, offset, b"{}", at_ms=at_ms, dingbridge_dlq_offset=str(user), **place
        )
    origin = f"t.user_add_org/0/{user}"
    return kafka_record(
        "ctl.inbox.a", 0, offset, b"{}", at_ms=at_ms, dingbridge_replay_id="r", dingbridge_replay_from=origin
    )


LOG = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), max_size=12)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 3), st.integers(1, 5)),
        st.tuples(st.just("torn"), st.integers(0, 3), st.integers(1, 5)),
        st.tuples(st.just("again"), st.integers(0, 3), st.integers(1, 5)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("prune"), st.integers(0, 6), st.integers(0, 6)),
    ),
    max_size=25,
)


class Torn(Exception):
    pass


@given(st.tuples(LOG, LOG, LOG, LOG), STEPS)
def test_any_life_of_the_index_ends_as_a_rebuild_does(
    logs: tuple[list[tuple[int, int]], ...], steps: list[tuple[str, int, int]]
) -> None:
    """Batches of any size, of any topic, twice, torn in the middle; restarts and prunes between them."""
    topics = [
        [topic_of(kind, offset, day * DAY, user) for offset, (day, user) in enumerate(log)]
        for kind, log in enumerate(logs)
    ]
    pruned = [0, 0]
    with tempfile.TemporaryDirectory() as folder, closing(opened(Path(folder) / "b")) as rebuilt:
        index = opened(Path(folder) / "a")
        for step, number, size in [*steps, *[("read", kind, 99) for kind in range(4)]]:
            if step == "restart":
                index.close()
                index = opened(Path(folder) / "a")
            elif step == "prune":
                pruned = [max(pruned[0], number), max(pruned[1], size)]
                prune(index, pruned)
            else:
                read(index, topics[number], step, size)
        prune(index, pruned)
        for records in topics:
            read(rebuilt, records, "read", 99)
        prune(rebuilt, pruned)
        found = content(index)
        index.close()
        assert found == content(rebuilt)
        assert found["orphans"] == []


def read(index: Index, records: list[ConsumerRecord[Any, Any]], step: str, size: int) -> None:
    """The next batch as the feed reads it; ``torn``: the process dies within; ``again``: an older one."""
    if not records:
        return
    partition = (records[0].topic, records[0].partition)
    spans = index.spans()
    begin = spans[partition].next if partition in spans else 0
    if step == "again":
        begin = max(0, begin - size)
    batch = records[begin : begin + size]
    if not batch:
        return
    offsets = {partition: (batch[0].offset, batch[-1].offset + 1)}
    if step != "torn":
        index.add(entries(*batch), offsets)
        return

    def dying() -> Iterator[Any]:
        yield from entries(*batch)
        raise Torn

    before = content(index)
    with pytest.raises(Torn):
        index.add(dying(), offsets)
    assert content(index) == before


def prune(index: Index, days: list[int]) -> None:
    index.prune(moment(days[0] * DAY), {("ctl.dlq.a", 0): days[1], ("ctl.inbox.a", 0): days[1]})


def test_what_is_covered_says_what_was_left_out(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as index:
        records = [event_record("user_add_org", f"e{n}", "u", n, at_ms=n * DAY) for n in range(5)]
        index.add(entries(*records), {("t.user_add_org", 0): (0, 5)})
        assert index.prune(moment(2 * DAY), {}) == 2
        assert index.spans() == {("t.user_add_org", 0): store.Covered(2, 5)}
        late = event_record("user_add_org", "late", "u", 5, at_ms=DAY)
        index.add(entries(late), {("t.user_add_org", 0): (5, 6)})
        assert len(content(index)["events"]) == 3, "older than the index goes back"
        assert index.spans() == {("t.user_add_org", 0): store.Covered(6, 6)}


def test_dead_letters_stay_as_long_as_kafka_has_them_whatever_their_time(tmp_path: Path) -> None:
    """One of 1970 waits as any other; those of a topic that was deleted, or of deleted records, do not."""
    with closing(opened(tmp_path)) as index:
        for name in ("ctl.dlq.a", "ctl.dlq.gone"):
            letters = [kafka_record(name, 0, offset, b"{}", at_ms=0) for offset in range(3)]
            index.add(entries(*letters), {(name, 0): (0, 3)})
        index.prune(moment(9 * DAY), {("ctl.dlq.a", 0): 2})
        assert index.waiting_letters() == {"a": (1, 0)}
        assert index.spans().keys() == {("ctl.dlq.a", 0)}, "it is read again, should it come back"


@pytest.mark.parametrize("fault", ["version", "other", "damaged"])
def test_a_file_that_is_not_understood_is_made_anew(tmp_path: Path, fault: str) -> None:
    index = opened(tmp_path)
    index.add(entries(event_record("user_add_org", "e", "u", 0)), {("t.user_add_org", 0): (0, 1)})
    index.close()
    path = tmp_path / "index.db"
    if fault == "damaged":
        path.write_bytes(b"no database" * 1000)
    else:
        with closing(apsw.Connection(str(path))) as db:
            db.execute(f"PRAGMA {'user_version' if fault == 'version' else 'application_id'} = 99")
    with closing(opened(tmp_path)) as index:
        assert not any(content(index).values())
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("page", [1, 2, 5, 12])
def test_a_damaged_file_is_made_anew_by_whoever_meets_the_damage(tmp_path: Path, page: int) -> None:
    """Also where the first page, which every start reads, is whole."""
    records = [event_record("user_add_org", f"e{n}", f"u{n}", n) for n in range(200)]
    with closing(opened(tmp_path)) as index:
        index.add(entries(*records), {("t.user_add_org", 0): (0, 200)})
    path = tmp_path / "index.db"
    raw = path.read_bytes()
    path.write_bytes(raw[: page * 4096] + b"\xff" * (len(raw) - page * 4096))
    with closing(opened(tmp_path)) as index:
        if page > 1:
            with pytest.raises(BridgeError, match="it is rebuilt from Kafka"):
                read_all(index)
        if index.damaged:
            index.rebuild("damaged")
        index.belongs_to("here")
        index.add(entries(*records), {("t.user_add_org", 0): (0, 200)})
        read_all(index)
        assert not index.damaged


def read_all(index: Index) -> None:
    with index.reading() as db:
        for query in CONTENT.values():
            db.execute(query).fetchall()


def test_the_index_of_another_cluster_is_made_anew(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as index:
        index.belongs_to("one")
        index.add(entries(event_record("user_add_org", "e", "u", 0)), {("t.user_add_org", 0): (0, 1)})
        index.belongs_to("one")
        assert content(index)["events"]
        index.belongs_to("two")
        assert not any(content(index).values())


@pytest.mark.parametrize("fault", ["no room for the file", "no room for its tables"])
def test_an_index_that_could_not_be_made_anew_is_made_at_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with closing(opened(tmp_path)) as index:
        index.belongs_to("one")
        index.add(entries(event_record("user_add_org", "e", "u", 0)), {("t.user_add_org", 0): (0, 1)})
        with monkeypatch.context() as broken:
            if fault == "no room for the file":
                broken.setattr(Path, "touch", full)
            else:
                broken.setattr(store, "SCHEMA", "no SQL")
            with pytest.raises(BridgeError, match="with room on its disk"):
                index.rebuild("the topic t was created again")
            with pytest.raises(BridgeError, match="with room on its disk"):
                index.belongs_to("one")
        assert index.belongs_to("one")
        assert not any(content(index).values())
        assert not index.belongs_to("one"), "once is enough"


def test_closing_waits_for_no_long_write(tmp_path: Path) -> None:
    """A large index is shortened for minutes: the console's end does not wait for that."""
    index, began = opened(tmp_path), threading.Event()

    def begun() -> int:
        began.set()
        return 0

    def write() -> None:
        with contextlib.suppress(apsw.InterruptError), index._transaction():
            index._db.create_scalar_function("begun", begun)
            forever = "WITH RECURSIVE n(i) AS (SELECT begun() UNION ALL SELECT i FROM n) SELECT sum(i) FROM n"
            index._db.execute(forever).fetchall()

    threads = [threading.Thread(target=work, daemon=True) for work in (write, index.close)]
    threads[0].start()
    assert began.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_dead_letters_that_wait_are_counted_and_a_note_settles_none_that_comes_later(tmp_path: Path) -> None:
    def letter(consumer: str, offset: int) -> ConsumerRecord[Any, Any]:
        first = {"topic": "t.user_add_org", "partition": "0", "offset": str(offset)}
        headers = {f"dingbridge_dlq_{name}": text for name, text in first.items()}
        return kafka_record(f"ctl.dlq.{consumer}", 0, offset, b"{}", at_ms=(offset + 1) * DAY, **headers)

    note = kafka_record("ctl.dlq.a", 0, 3, b"[0,2,3,4,99]", at_ms=9 * DAY, dingbridge_dlq_settled="run")
    with closing(opened(tmp_path)) as index:
        assert index.waiting_letters() == {}
        index.add(entries(*(letter("a", offset) for offset in (0, 1, 2)), letter("b", 0)), {})
        assert index.waiting_letters() == {"a": (3, DAY), "b": (1, DAY)}
        index.add(entries(note), {})
        assert index.waiting_letters() == {"a": (1, 2 * DAY), "b": (1, DAY)}
        invented = orjson.dumps([5] * 1000 + list(range(10, 5000)))
        index.add(entries(kafka_record("ctl.dlq.a", 0, 6000, invented, dingbridge_dlq_settled="x")), {})
        assert len(content(index)["settled"]) == 2, "what is no letter takes no room"
        index.add(entries(*(letter("a", offset) for offset in (4, 5))), {})
        assert index.waiting_letters() == {"a": (3, 2 * DAY), "b": (1, DAY)}
        index.add(entries(kafka_record("ctl.dlq.c", 0, 7, b"odd", at_ms=DAY)), {})
        assert index.waiting_letters()["c"] == (1, DAY), "one whose headers say nothing waits, too"


def test_the_file_keeps_its_bound_and_says_how_far_it_goes_back(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as index:
        records = [event_record("user_add_org", f"e{n}", f"u{n}", n, at_ms=n) for n in range(3000)]
        index.add(entries(*records), {("t.user_add_org", 0): (0, 3000)})
        index.max_bytes = index.bytes() // 2
        gone = index.shrink()
        assert index.bytes() <= index.max_bytes
        kept = content(index)["events"]
        assert len(kept) == 3000 - gone > 0
        assert index.floor_ms == gone == index.spans()["t.user_add_org", 0].first


def test_nothing_that_is_said_is_kept(tmp_path: Path) -> None:
    """Ids, types and times are; names, texts and numbers are not."""
    body = {"EventType": "bpms_instance_change", "eventId": "e1", "corpId": "ding1", "title": "secret words"}
    body |= {"processInstanceId": "proc-1", "staffId": "u-7", "result": "agree", "n": 424242}
    value = to_records(Received(1, "j", 1, "default", "http", orjson.dumps(body)))[0].value
    entry = entry_of(kafka_record("t.bpms_instance_change", 0, 0, value), SETTINGS)
    with closing(opened(tmp_path)) as index:
        index.add([entry] if entry else [], {("t.bpms_instance_change", 0): (0, 1)})
        assert [row[0] for row in content(index)["ids"]] == sorted(
            ["bpms_instance_change:e1", "e1", "proc-1", "u-7"]
        )
        raw = (tmp_path / "index.db").read_bytes() + (tmp_path / "index.db-wal").read_bytes()
        assert b"secret words" not in raw
        assert b"424242" not in raw


# -- The day's curves: what came in which quarter of an hour, and what waited at its end


UNTIL = 1_767_225_600.0


def ms(step: int) -> int:
    """In the middle of a step; those before the day have negative numbers."""
    return int((UNTIL - STEP_S * (OF_A_DAY - step - 0.5)) * 1000)


def test_the_day_is_counted_by_the_quarter_of_an_hour(tmp_path: Path) -> None:
    came = {0: -4, 1: -4, 2: 10, 3: 10, 4: 95}
    letters = [
        kafka_record("ctl.dlq.a", 0, offset, b"{}", at_ms=ms(step), dingbridge_dlq_topic="t")
        for offset, step in came.items()
    ]
    settled = {5: (-2, [0]), 6: (20, [2, 3]), 7: (30, [2])}  # a second note of a letter changes nothing
    notes = [
        kafka_record(
            "ctl.dlq.a", 0, offset, repr(of).encode(), at_ms=ms(step), dingbridge_dlq_settled=f"r{offset}"
        )
        for offset, (step, of) in settled.items()
    ]
    steps = [-1, 0, 7, 7, 95]
    events = [
        event_record("user_add_org", f"e{number}", "u1", number, at_ms=ms(step))
        for number, step in enumerate(steps)
    ]
    with closing(opened(tmp_path)) as index:
        index.add(entries(*events, *letters, *notes), {})
        add_freshness(index, ms(3) / 1000, {"a": 2.0, "b": 5.0})
        add_freshness(index, ms(4) / 1000, {"a": float("inf")})
        add_freshness(index, UNTIL - 1, {})
        day = trend(index, UNTIL)
        assert {step: rate for step, rate in enumerate(day.rate) if rate} == {
            0: 1 / STEP_S,
            7: 2 / STEP_S,
            95: 1 / STEP_S,
        }
        assert {s: value for s, value in enumerate(day.freshness) if value is not None} == {
            3: 5.0,
            4: float("inf"),
        }
        assert day.letters == tuple(1.0 + 2 * (10 <= step < 20) + (step == 95) for step in range(OF_A_DAY))

        index.prune(moment(ms(7)) - timedelta(seconds=1), {})
        day = trend(index, UNTIL)
        assert day.rate[:7] == (None,) * 7, "the events of that time are gone"
        assert day.rate[8] == 0
