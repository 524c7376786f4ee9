"""A process does not outlive a task that it needs."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.availability import (
    GIVE_UP_AFTER_S,
    LONGEST_PAUSE_S,
    Availability,
    is_given_up,
    own_delay_s,
)
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.errors import BridgeError
from dingbridge.mirror.answers import agreed, decide, disagreed_again_s
from dingbridge.snapshots.late_answers import LOOK_AGAIN_S, look_again_s, said_by
from dingbridge.tasks import TaskEnded, WatchedTasks
from dingbridge.work_queue import WorkQueue
from tests.integration.claimer import items


async def forever():
    await asyncio.Event().wait()


async def run_until_it_ends(work, **options):
    """What a process does: it stays until it is asked to stop, which is never."""
    async with WatchedTasks() as tasks:
        tasks.need("other", forever)
        tasks.need("under test", work, **options)
        await forever()


async def returns():
    pass


async def fails():
    raise ZeroDivisionError("a name that no log may show")


async def cancels_itself():
    raise asyncio.CancelledError


async def awaits_what_is_cancelled():
    waiting = asyncio.get_running_loop().create_future()
    waiting.cancel()
    await waiting


@pytest.mark.parametrize("work", [returns, fails, cancels_itself, awaits_what_is_cancelled])
async def test_a_needed_task_that_ends_takes_the_process_with_it(work):
    with pytest.raises(TaskEnded, match="the task under test has ended") as raised:
        await run_until_it_ends(work)
    assert "a name that no log may show" not in str(raised.value)


async def test_an_error_in_words_stays_as_it_is():
    error = BridgeError("the disk is full; make room")

    async def refuses():
        raise error

    with pytest.raises(BridgeError) as raised:
        await run_until_it_ends(refuses)
    assert raised.value is error


@pytest.mark.parametrize("work", [fails, cancels_itself])
async def test_what_may_end_may_not_fail(work):
    with pytest.raises(TaskEnded):
        await run_until_it_ends(work, may_end=True)


async def test_what_may_end_ends_nothing():
    async with WatchedTasks() as tasks:
        await tasks.need("once", returns, may_end=True)
        await asyncio.sleep(0)


async def test_a_task_that_its_owner_cancels_ends_nothing():
    async with WatchedTasks() as tasks:
        task = tasks.need("of an app that is gone", forever)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        tasks.need("never begun", forever).cancel()
        await asyncio.sleep(0)


async def test_leaving_the_block_ends_all_tasks():
    async with WatchedTasks() as tasks:
        task = tasks.need("one", forever)
    assert task.cancelled()


async def test_what_the_block_raises_comes_first():
    error = BridgeError("the address is taken")

    async def fails_when_cancelled():
        try:
            await forever()
        finally:
            raise ZeroDivisionError

    async def process():
        async with WatchedTasks() as tasks:
            tasks.need("one", fails_when_cancelled)
            await asyncio.sleep(0)
            raise error

    with pytest.raises(BridgeError) as raised:
        await process()
    assert raised.value is error


async def test_being_cancelled_from_outside_is_no_error_of_a_task():
    entered = asyncio.Event()

    async def process():
        async with WatchedTasks() as tasks:
            tasks.need("one", forever)
            entered.set()
            await forever()

    running = asyncio.create_task(process())
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# -- When an answer that disagrees with its event is looked at again, and when it is believed


@pytest.mark.parametrize(
    ("event_type", "exists", "changed", "believed"),
    [
        ("user_add_org", True, True, True),
        ("user_add_org", True, False, True),  # an earlier event of this person brought the row
        ("user_add_org", False, False, False),
        ("user_leave_org", False, True, True),
        ("user_leave_org", True, True, False),
        ("user_modify_org", True, True, True),
        ("user_modify_org", True, False, False),
        ("user_modify_org", False, True, False),
        ("org_dept_create", False, False, False),
        ("org_dept_remove", True, False, False),
        ("label_user_change", True, False, False),
    ],
)
def test_an_answer_is_believed_at_once_where_it_shows_what_the_event_said(
    event_type: str, exists: bool, changed: bool, believed: bool
) -> None:
    said = said_by(event_type)
    contradicts = decide(said, 1, exists=exists, here=True).again_s is not None
    assert (not contradicts and agreed(said, changed=changed, settled=True)) is believed


def test_it_is_looked_at_three_times_more() -> None:
    assert [look_again_s(looks) for looks in range(1, 5)] == [*LOOK_AGAIN_S, None]


@pytest.mark.parametrize(
    ("open_s", "waits"), [(None, [2.0, 10.0, 60.0, None, None]), (60.0, [2.0, 10.0, 60.0, 60.0, 60.0])]
)
def test_what_shows_no_change_is_read_three_times_more(
    open_s: float | None, waits: list[float | None]
) -> None:
    assert [disagreed_again_s(reads, open_s) for reads in range(1, 6)] == waits


# -- One entity's failure and a dependency that is down are told apart by another entity that works


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40)


@given(STEPS)
def test_a_failure_is_an_entitys_own_exactly_if_another_worked_since_its_last(
    steps: list[tuple[str, bool]],
) -> None:
    availability, failed_at, worked_at = Availability(), dict[str, float](), float("-inf")
    for now, (entity, works) in enumerate(steps, 1):
        if works:
            availability.worked(now)
            worked_at = now
        else:
            before = failed_at.get(entity)
            assert availability.failed(before, now) is (before is not None and before < worked_at)
            failed_at[entity] = now


@given(st.integers(0, 2000))
def test_an_outage_is_never_anybodys_own_and_what_it_costs_is_bounded(failures: int) -> None:
    availability = Availability()
    for now in range(failures):
        assert not availability.failed(now - 1 or None, now)
    assert 0 <= availability.pause_s() <= LONGEST_PAUSE_S
    assert availability.is_down is (availability.pause_s() > 0)
    availability.worked(failures)
    assert availability.pause_s() == 0


def test_one_that_fails_alone_does_not_make_the_others_wait() -> None:
    availability = Availability()
    before: float | None = None
    for now in range(0, 100, 2):
        availability.failed(before, now)
        before = now
        assert availability.pause_s() == 0
        availability.worked(now + 1)


@given(st.integers(1, 2000))
def test_own_failures_have_growing_delays_and_end(failures: int) -> None:
    assert own_delay_s(failures) <= own_delay_s(failures + 1) <= GIVE_UP_AFTER_S
    assert not is_given_up(None, 1e9)
    assert is_given_up(1000.0, 1000.0 + GIVE_UP_AFTER_S)
    assert not is_given_up(1000.0, 999.0 + GIVE_UP_AFTER_S)


@pytest.mark.parametrize("rows", [1, 5])
def test_rows_that_fail_for_a_month_cost_about_a_thousand_calls_each(rows: int) -> None:
    now = began = 1_800_000_000.0
    queue, availability = WorkQueue(items, clock=lambda: now), Availability()
    fresh = {"attempts": 0, "failed_ms": None, "failing_since_ms": None, "due_ms": round(now * 1000)}
    table: list[dict[str, Any]] = [fresh for _ in range(rows)]
    calls = 0
    while now < began + 30 * 86_400:
        number = min(range(rows), key=lambda one: table[one]["due_ms"])
        now = max(now, table[number]["due_ms"] / 1000)
        row: Any = SimpleNamespace(**table[number])
        table[number] = queue.failure(row, availability, Unavailable("no answer", api="a"))
        calls += 1
    assert calls < 1_500 * rows
