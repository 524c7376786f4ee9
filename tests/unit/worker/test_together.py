"""Events of one entity that wait together are one fetch."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge import Context, DependencyUnavailable, Event, Reject, Retry, Transaction
from tests.support.sizes import sized
from tests.unit.worker.harness import P0, P1, Scripted, running, until
from tests.unit.worker.support import Recording, kafka_record, record


class Fetching(Scripted):
    """Fetches a user for each event, and says which events it was given together."""

    def __init__(self, script: dict[str, list[Exception]] | None = None) -> None:
        super().__init__(script)
        self.together: list[list[str]] = []

    def fetches(self, event: Event) -> str | None:
        return event.subject

    async def prepare(self, event: Event, ctx: Context) -> None:
        await super().prepare(event, ctx)
        assert ctx.together[-1] is event

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        await super().handle(event, tx, prepared)
        self.together.append([one.id.split("/")[0].rpartition(":")[2] for one in tx.ctx.together])


async def test_what_came_while_another_was_handled_is_one_fetch_with_the_newest() -> None:
    consumer = Fetching()
    consumer.hold["a"] = asyncio.Event()
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"))
        await until(lambda: "a" in consumer.began)
        harness.add(P0, ("b", "u1"), ("c", "u1"), ("other", "u2"))
        harness.add(P1, ("d", "u1"))
        consumer.hold["a"].set()
        await harness.idle()
        assert consumer.seen == ["a", "other", "d"]
        assert sorted(consumer.together) == [["a"], ["b", "c", "d"], ["other"]]
        assert harness.to_commit() == {P0: 4, P1: 1}
        assert harness.count("events_total", topic="t", outcome="done") == 5
        assert harness.count("freshness_seconds_count", family="contact") == 5


class Each(Fetching):
    """Writes a row for each event that it is given."""

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        for one in tx.ctx.together:
            await Recording.handle(self, one, tx, prepared)


@pytest.mark.parametrize("published", ["aa", "abab", "abcbc"])
async def test_what_was_published_twice_is_once_in_the_group(published: str) -> None:
    """The inbox table knows none of a run and its repeat that wait together."""
    consumer = Each()
    consumer.hold["first"] = asyncio.Event()
    async with running(consumer) as harness:
        harness.add(P0, ("first", "u1"))
        await until(lambda: "first" in consumer.began)
        harness.add(P0, *((name, "u1") for name in published))
        consumer.hold["first"].set()
        await harness.idle()
        assert await harness.effects() == ["first", *sorted(set(published))]
        assert consumer.seen == ["first", max(published)]
        assert harness.to_commit() == {P0: 1 + len(published)}
        assert harness.letters.sent == []


class Told(Fetching):
    """One whose ``fetches`` reads the event's own value."""

    def fetches(self, event: Event) -> str | None:
        if "none" in event.id:
            return None
        if "broken" in event.id:
            raise Reject("no id in it")
        return "left" if "left" in event.id else "right"


async def test_only_neighbours_with_the_same_value_are_together() -> None:
    consumer = Told()
    async with running(consumer) as harness:
        names = ("left1", "left2", "right1", "left3", "none1", "none2", "broken1", "broken2", "right2")
        harness.add(P0, *((name, "u1") for name in names))
        await harness.idle()
        (left, *others) = consumer.together
        assert left == ["left1", "left2"]
        assert others == [[name] for name in names[2:]]


@pytest.mark.parametrize("error", [ValueError(), Reject("not this one")])
async def test_a_group_that_fails_is_tried_from_its_first_alone_and_each_has_its_own_outcome(
    error: Exception,
) -> None:
    """The first is bad, with and without others: it alone is given up, the rest are one fetch again."""
    consumer = Fetching({"c": [ValueError()], "a": [error] * 3})
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"), ("b", "u1"), ("c", "u1"))
        await harness.idle()
        assert [letter.offset for letter, _, _ in harness.letters.sent] == [0]
        assert consumer.seen[:2] == ["c", "a"]
        assert consumer.together[-1] == ["b", "c"]
        assert await harness.effects() == ["c"]
        assert harness.to_commit() == {P0: 3}


async def test_an_outage_costs_the_group_nothing() -> None:
    outage: list[Exception] = [DependencyUnavailable("down") for _ in range(2)]
    consumer = Fetching({"a": outage, "c": [DependencyUnavailable("down")]})
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"), ("b", "u1"), ("c", "u1"))
        await harness.idle()
        assert harness.letters.sent == []
        assert consumer.together[-1] == ["b", "c"]


async def test_what_comes_again_after_a_handover_is_applied_once() -> None:
    consumer = Fetching({"stuck": [Retry(after=30)]})
    consumer.hold["a"] = asyncio.Event()
    async with running(consumer) as harness:
        events = [("stuck", "u0"), ("a", "u1"), ("b", "u1"), ("c", "u1")]
        harness.add(P0, *events[:3])
        consumer.hold.clear()
        await until(lambda: harness.tracker.in_flight == 1)
        before = await harness.effects()
        await harness.scheduler.close(0.1)
        harness.assign()
        harness.offsets[P0] = 0
        harness.add(P0, *events)
        await harness.idle()
        assert harness.to_commit() == {P0: 4}
        assert sorted(await harness.effects()) == sorted([*before, "c", "stuck"])


async def test_a_replayed_copy_is_applied_with_what_waits_and_never_twice() -> None:
    consumer = Fetching()
    made = record("a")
    copy = (*made.headers, ("dingbridge-replay-id", b"r1"))
    async with running(consumer) as harness:
        for _ in range(2):
            harness.scheduler.add(
                [
                    kafka_record("t", 0, 2 * n, key=made.key, value=made.value, headers=headers)
                    for n, headers in enumerate([made.headers, copy])
                ]
            )
            await harness.idle()
        assert consumer.together == [["a", "a"]]


users = st.sampled_from(["u1", "u2", "u3"])
faults = st.sampled_from([ValueError, lambda: Reject("no"), lambda: DependencyUnavailable("down"), Retry])


@given(st.lists(st.tuples(users, st.lists(faults, max_size=2)), max_size=25))
@settings(max_examples=sized(10, 100, quick=5), deadline=None)
def test_whatever_fails_each_event_is_settled_once_and_the_newest_of_each_user_last(
    life: list[tuple[str, list[Any]]],
) -> None:
    async def run() -> None:
        consumer = Fetching({f"e{n}": [make() for make in made] for n, (_, made) in enumerate(life)})
        async with running(consumer) as harness:
            harness.add(P0, *((f"e{n}", user) for n, (user, _) in enumerate(life)))
            await harness.idle()
            # a handler is called again when another one of its transaction has failed
            calls = [name for group in consumer.together for name in group]
            handled = list(dict.fromkeys(reversed(calls)))[::-1]
            dead = [f"e{letter.offset}" for letter, _, _ in harness.letters.sent]
            assert sorted(handled + dead) == sorted(f"e{n}" for n in range(len(life)))
            order = defaultdict(list)
            for name in handled:
                order[life[int(name[1:])][0]].append(int(name[1:]))
            assert all(numbers == sorted(numbers) for numbers in order.values())
            assert harness.to_commit() == ({P0: len(life)} if life else {})

    asyncio.run(run())
