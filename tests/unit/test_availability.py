"""One entity's failure and a dependency that is down are told apart by another entity that works."""

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
from dingbridge.work_queue import WorkQueue
from tests.integration.claimer import items

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
