from hypothesis import given
from hypothesis import strategies as st

from dingbridge.worker.retry import ASKED_MAX_S, WORLD_MAX_S, delay, world_delay


@given(st.integers(1, 10_000))
def test_delays_grow_to_a_bound_and_are_spread(attempt: int) -> None:
    wait = delay(attempt, 0.5, 60)
    exact = min(60, 0.5 * 2 ** min(attempt - 1, 60))
    assert exact * 0.8 <= wait <= exact * 1.2


def test_the_world_is_asked_no_sooner_than_it_said() -> None:
    assert world_delay(1, 120) == 120
    assert world_delay(1, 10**9) == ASKED_MAX_S
    assert world_delay(500, None) <= WORLD_MAX_S * 1.2
