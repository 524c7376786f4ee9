"""How fast requests of one API follow each other, where the processes of an app share no budget."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.pace import MARGIN, PACED_S, PER_S, OwnPace

API, OTHER = "topapi/v2/user/get", "topapi/v2/department/get"
A_SECOND = int(PER_S * MARGIN)


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now


async def times(pace: OwnPace, time: Time, count: int, api: str = API) -> list[float]:
    return [time.now + await pace.turn(api) for _ in range(count)]


async def test_there_is_no_pace_of_its_own_before_the_first_rate_limit() -> None:
    time = Time()
    assert set(await times(OwnPace(clock=time.clock), time, 1000)) == {time.now}


async def test_a_rate_limit_holds_back_its_api_and_sets_the_pace_for_a_minute() -> None:
    time = Time()
    pace = OwnPace(clock=time.clock)
    await pace.hold(API, 2.0)
    at = await times(pace, time, 2 * A_SECOND + 1)
    assert [at[0], at[A_SECOND], at[2 * A_SECOND]] == pytest.approx([102.0, 103.0, 104.0])
    assert set(await times(pace, time, 100, OTHER)) == {time.now}
    time.now += 5 + PACED_S
    assert set(await times(pace, time, 100)) == {time.now}


@given(st.lists(st.tuples(st.floats(0, 0.2), st.sampled_from([None, None, 1.0, 2.0, 4.0])), min_size=1))
def test_never_more_than_the_plan_in_any_second_while_it_is_paced(
    steps: list[tuple[float, float | None]],
) -> None:
    async def run() -> None:
        time = Time()
        pace = OwnPace(per_s=PER_S, clock=time.clock)
        quiet_until, sent = time.now, []
        for elapsed, limited in steps:
            time.now += elapsed
            if limited is not None:
                await pace.hold(API, limited)
                quiet_until = max(quiet_until, time.now + limited)
            sent += await times(pace, time, 1)
            assert sent[-1] >= quiet_until - 1e-6
        assert sent == sorted(sent)
        for first, last in zip(sent, sent[int(PER_S) :], strict=False):
            assert last - first >= 1 - 1e-6

    asyncio.run(run())
