from hypothesis import given
from hypothesis import strategies as st

from dingbridge.retry import ASKED_MAX_S, UNAVAILABLE_MAX_S, delay


@given(st.integers(1, 10_000))
def test_delays_grow_to_a_bound_and_are_spread(attempt: int) -> None:
    wait = delay(attempt, 0.5, 60)
    exact = min(60, 0.5 * 2 ** min(attempt - 1, 60))
    assert exact * 0.8 <= wait <= exact * 1.2


def test_the_world_is_asked_no_sooner_than_it_said() -> None:
    assert delay(1, asked_s=120) == 120
    assert delay(1, asked_s=10**9) == ASKED_MAX_S
    assert delay(500) <= UNAVAILABLE_MAX_S * 1.2
