"""The access token's life, by a clock that only moves when told."""

import asyncio

import pytest

from dingbridge.dingtalk.errors import TokenInvalid, Unavailable
from dingbridge.dingtalk.token import AccessToken


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


async def test_only_the_refused_one_is_discarded() -> None:
    platform = Platform()
    refused = await platform.token.get()
    platform.token.discard(refused)
    assert await platform.token.get() == "t2"
    platform.token.discard(refused)
    assert await platform.token.get() == "t2"


async def test_a_refused_app_is_an_error_at_once() -> None:
    platform = Platform()
    platform.failure = TokenInvalid("no", api="gettoken", errcode=40089)
    with pytest.raises(TokenInvalid):
        await platform.token.get()
