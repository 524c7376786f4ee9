from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.forward import circuit as module
from consumers.forward.circuit import DOUBTS, PROBE_MAX_S, Blame, Circuit, CircuitOpen, Pace
from dingbridge.worker.retry import ASKED_MAX_S


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(clock=clock)


def open_by_no_connection(circuit: Circuit) -> float:
    return circuit.down(circuit.enter(), "no connection", None)


def key(n: int) -> tuple[str, str]:
    return ("source", f"e{n}")


def test_a_system_that_cannot_be_reached_opens_it_at_once(circuit: Circuit) -> None:
    wait = open_by_no_connection(circuit)
    assert circuit.state == "open"
    with pytest.raises(CircuitOpen) as shut:
        circuit.enter()
    assert shut.value.wait_s >= wait > 0


def test_one_probe_at_a_time_and_its_success_closes_it(circuit: Circuit, clock: Clock) -> None:
    clock.now += open_by_no_connection(circuit)
    assert circuit.enter()
    with pytest.raises(CircuitOpen):
        circuit.enter()
    circuit.works()
    assert circuit.state == "closed"
    assert not circuit.enter()


def test_probes_that_fail_come_less_and_less_often(
    circuit: Circuit, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "delay", lambda n, first, most: min(most, first * 2 ** (n - 1)))
    waits = [open_by_no_connection(circuit)]
    for _ in range(7):
        clock.now += waits[-1]
        waits.append(open_by_no_connection(circuit))
    assert waits == [1, 2, 4, 8, 16, PROBE_MAX_S, PROBE_MAX_S, PROBE_MAX_S]


def test_what_the_system_asks_for_is_waited(circuit: Circuit, clock: Clock) -> None:
    assert circuit.down(circuit.enter(), "it answered 429", 120) == 120
    clock.now += 119
    with pytest.raises(CircuitOpen) as shut:
        circuit.enter()
    assert shut.value.wait_s == 1
    clock.now += 1
    assert circuit.enter()


def test_but_no_system_may_ask_for_ever(circuit: Circuit) -> None:
    assert circuit.down(circuit.enter(), "it answered 503", 1e9) == ASKED_MAX_S


def test_requests_under_way_when_it_opened_count_as_one_opening(circuit: Circuit, clock: Clock) -> None:
    for _ in range(10):
        assert not circuit.enter()
    first = circuit.down(False, "no connection", None)
    for _ in range(9):
        assert circuit.down(False, "no connection", None) == first
    # but what the last of them asks for holds
    assert circuit.down(False, "it answered 503", 60) == 60


def test_doubts_about_one_event_never_open_it(circuit: Circuit) -> None:
    for _ in range(100):
        assert circuit.doubt(circuit.enter(), key(1), "it answered 500", None) is None
    assert circuit.state == "closed"


def test_doubts_about_different_events_in_a_row_open_it(circuit: Circuit) -> None:
    for n in range(DOUBTS - 1):
        assert circuit.doubt(circuit.enter(), key(n), "it answered 500", None) is None
    circuit.works()
    for n in range(DOUBTS - 1):
        assert circuit.doubt(circuit.enter(), key(n), "it answered 500", None) is None
    assert circuit.doubt(circuit.enter(), key(DOUBTS), "it answered 500", 20) == 20
    assert (circuit.state, circuit.reason) == ("open", "it answered 500")


def test_a_probe_that_is_cancelled_leaves_the_next_one_its_turn(circuit: Circuit, clock: Clock) -> None:
    clock.now += open_by_no_connection(circuit)
    circuit.leave(circuit.enter())
    assert circuit.state == "open"
    assert circuit.enter()


def test_changes_are_told_once(clock: Clock) -> None:
    told: list[tuple[str, str]] = []
    circuit = Circuit(lambda *change: told.append(change), clock)
    clock.now += open_by_no_connection(circuit)
    circuit.down(False, "no connection", None)
    circuit.enter()
    circuit.works()
    circuit.works()
    assert told == [("open", "no connection"), ("half-open", "no connection"), ("closed", "")]


ENDS = st.sampled_from(["works", "down", "doubt", "leave"])
STEPS = st.lists(
    st.one_of(st.just("enter"), st.just("wait"), st.tuples(ENDS, st.integers(0, 7))), max_size=80
)


@given(STEPS)
def test_whatever_requests_end_like_it_is_never_stuck(steps: list[str | tuple[str, int]]) -> None:
    """Requests begin and end in any order; when all have ended and time has passed, one may be sent."""
    clock = Clock()
    circuit = Circuit(clock=clock)
    under_way: list[bool] = []

    def end(how: str, probe: bool, n: int) -> None:
        if how == "works":
            circuit.works()
        elif how == "down":
            circuit.down(probe, "x", None)
        elif how == "doubt":
            circuit.doubt(probe, key(n), "x", None)
        else:
            circuit.leave(probe)

    for n, step in enumerate(steps):
        if step == "wait":
            clock.now += 5
        elif step == "enter":
            before = circuit.state
            try:
                under_way.append(circuit.enter())
            except CircuitOpen:
                assert before != "closed"
            else:
                assert before != "half-open"
                assert under_way[-1] == (before == "open") == (circuit.state == "half-open")
        elif under_way and isinstance(step, tuple):
            end(step[0], under_way.pop(step[1] % len(under_way)), n)
    for probe in under_way:
        end("leave", probe, 0)
    clock.now += ASKED_MAX_S
    circuit.enter()
    circuit.works()
    assert circuit.state == "closed"


class TestBlame:
    def test_a_failure_counts_only_if_another_event_was_taken_meanwhile(self) -> None:
        blame = Blame()
        assert [blame.failed(key(1), n) for n in (0, 0, 0, 1, 1, 2, 7)] == [0, 0, 0, 1, 1, 2, 3]

    def test_a_fault_of_its_own_always_counts(self) -> None:
        blame = Blame()
        assert [blame.failed(key(1), 0, own_fault=True) for _ in range(3)] == [1, 2, 3]

    def test_what_came_to_its_end_begins_anew(self) -> None:
        blame = Blame()
        blame.failed(key(1), 0, own_fault=True)
        blame.forget(key(1))
        assert blame.failed(key(1), 5) == 0

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "REMEMBERED", 3)
        blame = Blame()
        for n in range(4):
            blame.failed(key(n), 0, own_fault=True)
        assert blame.failed(key(0), 0, own_fault=True) == 1
        assert blame.failed(key(3), 0, own_fault=True) == 2


@given(st.floats(0.1, 1000), st.lists(st.floats(0, 3), min_size=1, max_size=50))
def test_the_pace_holds_whenever_requests_come(rate: float, gaps: list[float]) -> None:
    clock = Clock()
    pace = Pace(rate, clock)
    times = []
    for gap in gaps:
        clock.now += gap
        times.append(clock.now + pace.wait_s())
    for earlier, later in pairwise(times):
        assert later - earlier >= 1 / rate - 1e-6


def test_a_pace_that_is_kept_costs_no_wait() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    assert pace.wait_s() == 0
    clock.now += 0.1
    assert pace.wait_s() == pytest.approx(0)
