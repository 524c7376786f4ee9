from collections import defaultdict
from unittest.mock import patch

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.worker.key_queue import Item, Lanes, Limits

P0 = TopicPartition("a", 0)
P1 = TopicPartition("a", 1)
Q0 = TopicPartition("b", 0)
SPACE = (P0, P1, Q0)


def item(partition: TopicPartition, offset: int, key: str, size: int = 1) -> Item:
    return Item(partition, offset, key, size, record=object())


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
def test_any_interleaving_keeps_order_per_key_and_a_watermark_below_every_unfinished_offset(
    script: list[tuple],
) -> None:
    with patch("dingbridge.worker.key_queue.SLACK", 0):  # finished entries are dropped as soon as they may be
        _any_interleaving(script)


def _any_interleaving(script: list[tuple]) -> None:
    lanes = Lanes()
    added: dict[str, list[Item]] = defaultdict(list)
    began: dict[str, list[Item]] = defaultdict(list)
    by_partition: dict[TopicPartition, list[Item]] = defaultdict(list)
    running: list[Item] = []
    next_offset = dict.fromkeys(SPACE, 5)

    def begin(head: Item) -> None:
        assert all(other.key != head.key for other in running), "two records of one key at the same time"
        running.append(head)
        began[str(head.key)].append(head)

    for step in script:
        if step[0] == "add":
            _, partition, gap, key = step
            new = item(partition, next_offset[partition] + gap, key)
            next_offset[partition] = new.offset + 1
            added[key].append(new)
            by_partition[partition].append(new)
            if lanes.add(new) is not None:
                begin(new)
        elif running:
            done = running.pop(step[1] % len(running))
            if (head := lanes.finish(done)) is not None:
                begin(head)
        for partition, items in by_partition.items():
            watermark = lanes.watermark(partition)
            assert watermark is not None
            unfinished = [i.offset for i in items if not i.finished]
            assert watermark == min(unfinished, default=next_offset[partition])
            behind = sum(i.finished and i.offset > watermark for i in items)
            assert behind == {p: waiting for p, _, waiting in lanes.holders()}.get(partition, 0)
        heads = {i.partition: i.offset for i in lanes.oldest()}
        assert all(lanes.watermark(p) == heads.get(p, next_offset[p]) for p in by_partition)
        assert lanes.in_flight == sum(not i.finished for items in by_partition.values() for i in items)

    while running:
        if (head := lanes.finish(running.pop())) is not None:
            begin(head)
    assert began == added
    assert lanes.committable() == {p: next_offset[p] for p, items in by_partition.items() if items}
    assert lanes.in_flight == lanes.in_flight_bytes == 0


@given(steps, st.sets(st.sampled_from(SPACE), min_size=1), st.sets(st.integers(0, 50)))
def test_after_a_handover_nothing_of_the_lost_partitions_is_left_and_the_others_go_on(
    script: list[tuple], lost: set[TopicPartition], finishing: set[int]
) -> None:
    lanes = Lanes()
    items: list[Item] = []
    running: list[Item] = []
    next_offset = dict.fromkeys(SPACE, 0)
    for step in script:
        if step[0] == "add":
            _, partition, gap, key = step
            new = item(partition, next_offset[partition] + gap, key)
            next_offset[partition] = new.offset + 1
            items.append(new)
            if lanes.add(new) is not None:
                running.append(new)
        elif running and (head := lanes.finish(running.pop(step[1] % len(running)))) is not None:
            running.append(head)

    running += lanes.revoke(lost, lambda i: i in running)
    while mine := [i for i in running if i.partition in lost]:
        running.remove(mine[0])
        # some that were being worked on still finish, others are cut off
        head = lanes.finish(mine[0]) if items.index(mine[0]) in finishing else lanes.abandon(mine[0])
        if head is not None:
            running.append(head)
    for partition, watermark in lanes.committable(lost).items():
        unfinished = [i.offset for i in items if i.partition == partition and not i.finished]
        assert watermark <= min(unfinished, default=next_offset[partition])
    lanes.forget(lost)
    assert all(i.finished or i.dropped for i in items if i.partition in lost)
    assert all(i.record is None for i in items if i.partition in lost)

    while running:
        if (head := lanes.finish(running.pop())) is not None:
            running.append(head)
    assert all(i.finished for i in items if i.partition not in lost)
    assert lanes.in_flight == 0


def test_a_key_has_one_lane_across_topics() -> None:
    lanes = Lanes()
    first, second = item(P0, 0, "k"), item(Q0, 0, "k")
    assert lanes.add(first) is first
    assert lanes.add(second) is None
    assert lanes.finish(first) is second


def test_committable_holds_only_what_moved() -> None:
    lanes = Lanes()
    first = item(P0, 7, "k")
    lanes.add(first)
    assert lanes.committable() == {}
    lanes.finish(first)
    assert lanes.committable() == {P0: 8}
    lanes.committed({P0: 8})
    assert lanes.committable() == {}


def test_a_partition_pauses_at_its_share_and_resumes_at_half() -> None:
    lanes = Lanes(Limits(records=8, records_floor=1, size=10_000))
    lanes.assign([P0, P1])
    items = [item(P0, n, f"k{n}") for n in range(4)]
    for one in items:
        lanes.add(one)
    assert lanes.full() == {P0}
    lanes.finish(items[0])
    assert lanes.full() == {P0}
    lanes.finish(items[1])
    lanes.finish(items[2])
    assert lanes.full() == set()
    assert lanes.flips == 2


def test_a_partition_pauses_by_bytes() -> None:
    lanes = Lanes(Limits(size=100))
    large = item(P0, 0, "k", size=100)
    lanes.add(large)
    assert lanes.full() == {P0}
    lanes.finish(large)
    assert lanes.full() == set()


def test_offsets_that_cannot_be_committed_are_bounded_and_name_their_holder() -> None:
    lanes = Lanes(Limits(window=3))
    stuck = item(P0, 0, "stuck")
    lanes.add(stuck)
    for offset in range(1, 4):
        assert lanes.full() == set()
        other = item(P0, offset, f"k{offset}")
        lanes.add(other)
        lanes.finish(other)
    assert lanes.full() == {P0}
    assert list(lanes.holders()) == [(P0, stuck, 3)]
    lanes.finish(stuck)
    assert lanes.full() == set()
    assert lanes.committable() == {P0: 4}


def test_a_partition_that_was_made_anew_begins_again_from_its_lower_offset() -> None:
    lanes = Lanes()
    old = item(P0, 100, "k")
    lanes.add(old)
    new = item(P0, 0, "k")
    assert lanes.add(new) is None
    assert lanes.watermark(P0) == 0
    assert lanes.finish(old) is new
    assert lanes.watermark(P0) == 0
    lanes.finish(new)
    assert lanes.committable() == {P0: 1}
