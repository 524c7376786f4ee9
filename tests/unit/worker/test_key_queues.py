"""Order per key and committable offsets, whatever the interleaving."""

import time
from collections import defaultdict
from collections.abc import Iterable
from unittest.mock import patch

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.worker.queues.key_queue import KeyQueues
from dingbridge.worker.queues.note import MOST_NOTED, NO_NOTE, Attempts, Note, read_note, write_note
from dingbridge.worker.queues.offset_tracker import Limits, OffsetTracker, QueuedRecord
from tests.unit.worker.support import kafka_record

P0 = TopicPartition("a", 0)
P1 = TopicPartition("a", 1)
Q0 = TopicPartition("b", 0)
SPACE = (P0, P1, Q0)


class Tracked:
    """Offsets and queues together, as the scheduler uses them."""

    def __init__(self, limits: Limits | None = None, partitions: Iterable[TopicPartition] = ()) -> None:
        self.offsets, self.queues = OffsetTracker(limits, partitions), KeyQueues()

    def add(self, queued: QueuedRecord) -> QueuedRecord | None:
        self.offsets.add(queued)
        return self.queues.add(queued)

    def finish(self, queued: QueuedRecord) -> QueuedRecord | None:
        self.offsets.finish(queued)
        return self.queues.remove([queued])


def fetched(partition: TopicPartition, offset: int, key: str, size: int = 1) -> QueuedRecord:
    record = kafka_record(*partition, offset, key=key.encode(), value=b"{}")
    return QueuedRecord(partition, offset, key, size, record)


# A step adds a record (partition, gap before its offset, key), or ends the n-th of the running heads.
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.sampled_from(SPACE), st.integers(0, 2), st.sampled_from(["k", "l", "m", "n"])
        ),
        st.tuples(st.just("finish"), st.integers(0, 50)),
    ),
    max_size=120,
)


@given(steps)
def test_any_interleaving_keeps_order_per_key_and_a_committable_offset_below_every_unfinished_offset(
    script: list[tuple],
) -> None:
    with patch(
        "dingbridge.worker.queues.offset_tracker.SLACK", 0
    ):  # finished entries are dropped as soon as they may be
        _any_interleaving(script)


def _any_interleaving(script: list[tuple]) -> None:
    tracked = Tracked()
    offsets = tracked.offsets
    added: dict[str, list[QueuedRecord]] = defaultdict(list)
    began: dict[str, list[QueuedRecord]] = defaultdict(list)
    by_partition: dict[TopicPartition, list[QueuedRecord]] = defaultdict(list)
    running: list[QueuedRecord] = []
    next_offset = dict.fromkeys(SPACE, 5)

    def begin(head: QueuedRecord) -> None:
        assert all(other.key != head.key for other in running), "two records of one key at the same time"
        running.append(head)
        began[str(head.key)].append(head)

    for step in script:
        if step[0] == "add":
            _, partition, gap, key = step
            new = fetched(partition, next_offset[partition] + gap, key)
            next_offset[partition] = new.offset + 1
            added[key].append(new)
            by_partition[partition].append(new)
            if tracked.add(new) is not None:
                begin(new)
        elif running:
            done = running.pop(step[1] % len(running))
            if (head := tracked.finish(done)) is not None:
                begin(head)
        for partition, items in by_partition.items():
            committable = offsets.committable_offset(partition)
            assert committable is not None
            unfinished = [i.offset for i in items if not i.finished]
            assert committable == min(unfinished, default=next_offset[partition])
            behind = sum(i.finished and i.offset > committable for i in items)
            assert behind == {p: waiting for p, _, waiting in offsets.holders()}.get(partition, 0)
        heads = {i.partition: i.offset for i in offsets.oldest()}
        assert all(offsets.committable_offset(p) == heads.get(p, next_offset[p]) for p in by_partition)
        assert offsets.in_flight == sum(not i.finished for items in by_partition.values() for i in items)

    while running:
        if (head := tracked.finish(running.pop())) is not None:
            begin(head)
    assert began == added
    assert all(offsets.committable_offset(p) == next_offset[p] for p, items in by_partition.items() if items)
    assert offsets.in_flight == offsets.in_flight_bytes == 0


def test_a_partition_pauses_at_its_share_and_resumes_at_half() -> None:
    tracked = Tracked(Limits(records=8, records_floor=1, size=10_000), [P0, P1])
    offsets = tracked.offsets
    items = [fetched(P0, n, f"k{n}") for n in range(4)]
    for one in items:
        tracked.add(one)
    assert offsets.full() == {P0}
    tracked.finish(items[0])
    assert offsets.full() == {P0}
    tracked.finish(items[1])
    tracked.finish(items[2])
    assert offsets.full() == set()
    assert offsets.full_changes == 2


def test_a_partition_pauses_by_bytes() -> None:
    tracked = Tracked(Limits(size=100))
    offsets = tracked.offsets
    large = fetched(P0, 0, "k", size=100)
    tracked.add(large)
    assert offsets.full() == {P0}
    tracked.finish(large)
    assert offsets.full() == set()


def test_offsets_that_cannot_be_committed_are_bounded_and_name_their_holder() -> None:
    tracked = Tracked(Limits(window=3))
    offsets = tracked.offsets
    stuck = fetched(P0, 0, "stuck")
    tracked.add(stuck)
    for offset in range(1, 4):
        assert offsets.full() == set()
        other = fetched(P0, offset, f"k{offset}")
        tracked.add(other)
        tracked.finish(other)
    assert offsets.full() == {P0}
    assert list(offsets.holders()) == [(P0, stuck, 3)]
    tracked.finish(stuck)
    assert offsets.full() == set()
    assert offsets.committable_offset(P0) == 4


def test_a_partition_that_was_made_anew_begins_again_from_its_lower_offset() -> None:
    tracked = Tracked()
    offsets = tracked.offsets
    old = fetched(P0, 100, "k")
    tracked.add(old)
    new = fetched(P0, 0, "k")
    assert tracked.add(new) is None
    assert offsets.committable_offset(P0) == 0
    assert tracked.finish(old) is new
    assert offsets.committable_offset(P0) == 0
    tracked.finish(new)
    assert offsets.committable_offset(P0) == 1


def test_who_gets_a_partition_next_knows_the_attempts_of_its_records() -> None:
    before = Tracked()
    records = [fetched(P0, 7 + n, f"k{n}") for n in range(4)]
    for queued in records:
        before.add(queued)
    before.finish(records[0])
    since = time.monotonic() - 100
    records[1].troubled.attempts, records[2].troubled.deaths = 4, 2
    records[3].troubled.own_failures, records[3].troubled.own_since = 2, since
    text = write_note(8, Note("db", 5, 9, 10), before.offsets.failed(P0))

    note = read_note(8, text)
    assert note is not None
    assert (note.database, note.version, note.running_to, note.suspect_to) == ("db", 5, 9, 10)
    after = Tracked()
    after.offsets.recall(P0, note.failed)
    again = [fetched(P0, 8 + n, f"k{n}") for n in range(3)]
    for queued in again:
        after.add(queued)
    found = [(q.troubled.attempts, q.troubled.own_failures, q.troubled.deaths) for q in again]
    assert found == [(4, 0, 0), (0, 0, 2), (0, 2, 0)]
    assert abs((again[2].troubled.own_since or 0) - since) < 2


@given(
    st.text()
    | st.binary().map(lambda raw: raw.decode("latin-1"))
    | st.from_regex(r"\{\"f\":\[\[[0-9,\[\]-]*")
)
def test_a_note_of_somebody_else_is_none_of_ours(text: str) -> None:
    note = read_note(5, text)
    assert note is None or note == NO_NOTE or note.failed


def test_without_anything_to_note_there_is_no_metadata() -> None:
    assert write_note(5, NO_NOTE, ()) == ""
    assert read_note(5, "") == NO_NOTE


def test_what_ended_processes_stays_in_the_note_however_many_others_failed() -> None:
    failed = [(0, Attempts(0, 0, 0, 2)), *((n, Attempts(5, 0, 0, 0)) for n in range(1, 500))]
    note = read_note(0, write_note(0, NO_NOTE, failed))
    assert note is not None
    assert note.failed[0].deaths == 2


def test_a_note_fits_into_what_a_broker_takes() -> None:
    failed = [(10**15 + 10**6 * n, Attempts(10**6, 10**6, 10**11, 10)) for n in range(500)]
    text = write_note(10**15, Note("f" * 32, 10**12, 10**15, 10**15), failed)
    assert len(text) < 4096
    note = read_note(10**15, text)
    assert note is not None
    assert len(note.failed) == MOST_NOTED
