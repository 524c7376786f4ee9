"""How fast requests follow each other after a rate limit."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.pace import PACED_S, PER_S, Pace


class Time:
    """A clock whose sleepers wake in order, without waiting."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wakes: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.wakes.append(self.now + seconds)
        await asyncio.sleep(0)


def make() -> tuple[Pace, Time]:
    time = Time()
    return Pace(sleep=time.sleep, clock=time.clock), time


def test_the_pace_is_below_the_plan() -> None:
    assert 10 <= PER_S < 20


async def test_there_is_no_pace_before_the_first_rate_limit() -> None:
    pace, time = make()
    for _ in range(1000):
        await pace.turn()
    assert time.wakes == []


async def test_a_rate_limit_holds_everybody_back_and_then_sets_the_pace() -> None:
    pace, time = make()
    pace.limited(2.0)
    each = int(PER_S)
    await asyncio.gather(*(pace.turn() for _ in range(2 * each + 1)))
    assert time.wakes[0] == 102.0
    assert round(time.wakes[each] - 102.0, 6) == 1.0
    assert round(time.wakes[2 * each] - 102.0, 6) == 2.0


async def test_the_pace_ends_a_minute_later() -> None:
    pace, time = make()
    pace.limited(1.0)
    time.now += 1 + PACED_S
    for _ in range(100):
        await pace.turn()
    assert time.wakes == []


Steps = list[tuple[float, float | None]]


@given(
    st.lists(
        st.tuples(st.floats(0, 0.2, allow_nan=False), st.one_of(st.none(), st.sampled_from([1.0, 2.0, 4.0]))),
        min_size=1,
        max_size=80,
    )
)
def test_never_more_than_the_plan_in_any_second_while_it_is_paced(
    steps: list[tuple[float, float | None]],
) -> None:
    async def run() -> None:
        pace, time = make()
        pace.limited(1.0)
        quiet_until, sent = time.now + 1.0, []
        for elapsed, limited in steps:
            time.now += elapsed
            if limited is not None:
                pace.limited(limited)
                quiet_until = max(quiet_until, time.now + limited)
            before = len(time.wakes)
            await pace.turn()
            at = time.wakes[-1] if len(time.wakes) > before else time.now
            assert at >= quiet_until - 1e-6
            sent.append(at)
        assert sent == sorted(sent)
        for first, last in zip(sent, sent[int(PER_S) :], strict=False):
            assert last - first >= 1 - 1e-6

    asyncio.run(run())
