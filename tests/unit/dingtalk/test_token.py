"""The access token's life, by a clock that only moves when told."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.errors import ApiError, NotFound, PermissionDenied, TokenInvalid, Unavailable
from dingbridge.dingtalk.pace import MARGIN, PACED_S, PER_S, OwnPace
from dingbridge.dingtalk.token import RIGHT_AGAIN_S, USELESS_TOKENS, AccessToken


class Platform:
    """Gives out t1, t2, … for 7200 s each, or fails when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fetched = 0
        self.failure: Exception | None = None
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.token = AccessToken(self.fetch, clock=lambda: self.now)

    async def fetch(self) -> tuple[str, float]:
        self.fetched += 1
        self.started.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return f"t{self.fetched}", 7200.0


async def test_is_kept_and_renewed_before_it_expires() -> None:
    platform = Platform()
    assert [await platform.token.get() for _ in range(3)] == ["t1"] * 3
    platform.now = 6599
    assert await platform.token.get() == "t1"
    platform.now = 6600
    assert await platform.token.get() == "t2"
    assert platform.fetched == 2


async def test_one_fetch_at_a_time() -> None:
    platform = Platform()
    platform.gate.clear()
    callers = [asyncio.create_task(platform.token.get()) for _ in range(20)]
    await platform.started.wait()
    platform.gate.set()
    assert set(await asyncio.gather(*callers)) == {"t1"}
    assert platform.fetched == 1


async def test_a_cancelled_fetch_leaves_it_to_the_next() -> None:
    platform = Platform()
    platform.gate.clear()
    first, second = (asyncio.create_task(platform.token.get()) for _ in range(2))
    await platform.started.wait()
    first.cancel()
    platform.gate.set()
    assert await second == "t2"


async def test_a_failed_renewal_does_not_matter_while_the_old_one_is_good() -> None:
    platform = Platform()
    await platform.token.get()
    platform.failure = Unavailable("down", api="gettoken")
    platform.now = 6600
    assert await platform.token.get() == "t1"
    platform.now = 6605
    assert await platform.token.get() == "t1"
    assert platform.fetched == 2, "not tried again at once"
    platform.now = 7200
    with pytest.raises(Unavailable):
        await platform.token.get()
    platform.failure = None
    assert await platform.token.get() == "t4"


async def test_a_refused_app_is_an_error_at_once() -> None:
    platform = Platform()
    platform.failure = TokenInvalid("no", api="gettoken", errcode=40089)
    with pytest.raises(TokenInvalid):
        await platform.token.get()


class App(Platform):
    """Its rights: ``granted[right]`` is the first token, by its number, that has it. ``same_text``: DingTalk
    gives out the old token's text again."""

    def __init__(self, *, same_text: bool = False) -> None:
        super().__init__()
        self.same_text = same_text
        self.granted = {"Read": 1_000, "Write": 1_000}
        self.calls: list[tuple[str, str]] = []
        self.failing: ApiError | None = None

    async def fetch(self) -> tuple[str, float]:
        value, life_s = await super().fetch()
        return ("t" if self.same_text else value), life_s

    async def call(self, right: str = "Read", api: str = "get") -> str:
        async def send(token: str) -> str:
            self.calls.append((right, token))
            fetched = self.fetched
            await asyncio.sleep(0)
            if fetched < self.granted[right]:
                raise PermissionDenied("no", api=api, permission=right)
            if self.failing is not None:
                raise self.failing
            return token

        return await self.token.call(send)


@pytest.mark.parametrize("same_text", [False, True])
async def test_a_right_that_was_granted_comes_with_a_new_token(same_text: bool) -> None:
    app = App(same_text=same_text)
    app.granted["Read"] = 2
    assert await app.call() == ("t" if same_text else "t2")
    assert (len(app.calls), app.fetched) == (2, 2)


async def test_a_right_that_is_missing_is_tried_once_in_ten_minutes_over_all_calls() -> None:
    app = App()
    for api in ("get", "get", "list"):
        with pytest.raises(PermissionDenied):
            await app.call(api=api)
    assert (len(app.calls), app.fetched) == (4, 2)
    with pytest.raises(PermissionDenied):
        await app.call("Write")
    assert (len(app.calls), app.fetched) == (6, 3), "another right, another attempt"
    app.now = RIGHT_AGAIN_S - 1
    with pytest.raises(PermissionDenied):
        await app.call()
    assert app.fetched == 3
    app.now, app.granted["Read"] = RIGHT_AGAIN_S, 4
    assert await app.call() == "t4"


@pytest.mark.parametrize("granted", [2, 1_000])
async def test_twenty_refused_at_once_fetch_one_token(granted: int) -> None:
    app = App()
    app.granted["Read"] = granted
    outcomes = await asyncio.gather(*(app.call() for _ in range(20)), return_exceptions=True)
    assert app.fetched == 2
    if granted == 2:
        assert outcomes == ["t2"] * 20
        assert len(app.calls) == 40
    else:
        assert {type(outcome) for outcome in outcomes} == {PermissionDenied}
        assert len(app.calls) == 21, "the others are not sent again in vain"


async def test_the_right_is_there_even_if_what_is_asked_for_is_not() -> None:
    app = App()
    app.granted["Read"], app.failing = 2, NotFound("gone", api="get")
    outcomes = await asyncio.gather(*(app.call() for _ in range(3)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NotFound}


async def test_without_a_new_token_the_old_one_goes_on() -> None:
    app = App()
    app.granted["Write"] = 0
    await app.call("Write")
    app.failure = Unavailable("down", api="gettoken")
    with pytest.raises(PermissionDenied):
        await app.call()
    assert await app.call("Write") == "t1"
    assert app.calls == [("Write", "t1"), ("Read", "t1"), ("Write", "t1")]


async def test_one_user_out_of_sight_is_no_matter_of_the_token() -> None:
    app = App()
    app.granted["Read"] = 0
    app.failing = PermissionDenied("not this one", api="get", about="entity")
    with pytest.raises(PermissionDenied):
        await app.call()
    assert (len(app.calls), app.fetched) == (1, 1)


class ShortLived(Platform):
    """Ends each token after ``uses`` calls; the next ``refusing`` tokens are refused at their first."""

    def __init__(self, uses: int = 7) -> None:
        super().__init__()
        self.left: dict[str, int] = {}
        self.uses, self.refusing, self.refused = uses, 0, 0

    async def fetch(self) -> tuple[str, float]:
        await asyncio.sleep(0)
        value, life_s = await super().fetch()
        self.refusing -= (useless := self.refusing > 0)
        self.left[value] = 0 if useless else self.uses
        return value, life_s

    async def call(self) -> str:
        async def send(token: str) -> str:
            self.left[token] -= 1
            accepted = self.left[token] >= 0
            await asyncio.sleep(0)
            if not accepted:
                self.refused += 1
                raise TokenInvalid("no", api="get", errcode=42001)
            return token

        return await self.token.call(send)


@pytest.mark.parametrize("at_once", [2, 10, 50])
async def test_readers_share_tokens_that_end_after_a_few_calls(at_once: int) -> None:
    platform = ShortLived()

    async def reader() -> None:
        for _ in range(600 // at_once):
            await platform.call()

    await asyncio.gather(*(reader() for _ in range(at_once)))
    assert platform.fetched == math.ceil(600 / platform.uses), "each token is used up before the next"
    assert platform.refused < 600


@pytest.mark.parametrize("same_text", [False, True])
async def test_a_late_refusal_of_the_old_token_does_not_take_away_the_new_one(same_text: bool) -> None:
    app, late = App(same_text=same_text), asyncio.Event()

    async def refused_once(at: asyncio.Event | None) -> int:
        async def send(_: str) -> int:
            if (fetched := app.fetched) == 1:
                if at is not None:
                    await at.wait()
                raise TokenInvalid("no", api="get", errcode=40014)
            return fetched

        return await app.token.call(send)

    second = asyncio.create_task(refused_once(late))
    await app.started.wait()
    assert await refused_once(None) == 2
    late.set()
    assert await second == 2
    assert app.fetched == 2


async def test_tokens_that_are_refused_at_their_first_use_are_not_fetched_without_end() -> None:
    platform = ShortLived()
    await platform.call()
    platform.left["t1"], platform.refusing = 0, USELESS_TOKENS - 1
    assert await platform.call() == f"t{USELESS_TOKENS + 1}"
    platform.left[f"t{platform.fetched}"], platform.refusing, platform.fetched = 0, 1_000, 0
    outcomes = await asyncio.gather(*(platform.call() for _ in range(10)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {TokenInvalid}
    assert USELESS_TOKENS <= (fetched := platform.fetched) < 2 * USELESS_TOKENS, "not each one for itself"
    with pytest.raises(TokenInvalid):
        await platform.call()
    assert platform.fetched == fetched + 1, "each call tries one more"
    platform.refusing = 0
    assert await platform.call() == f"t{platform.fetched}"


# -- How fast requests of one API follow each other, where the processes of an app share no budget


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
