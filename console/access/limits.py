"""How much one user may run at once, so that nobody delays the others."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from dingbridge.console.access.middleware import USER

SEARCHES: Final = 2
WAIT_S: Final = 10.0
"""For so long the next one waits for its turn, in s."""


class SearchesOfEach:
    """Each user's searches, and other long readings: two at once, more of the same user one after the other
    behind them."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(SEARCHES))

    @asynccontextmanager
    async def turn(self, request: web.Request) -> AsyncIterator[None]:
        """Raises 429 where it does not come in time."""
        turn = self._turns[request[USER].name]
        try:
            async with asyncio.timeout(self._wait_s):
                await turn.acquire()
        except TimeoutError:
            raise web.HTTPTooManyRequests(
                text=f"{SEARCHES} long readings of yours are under way, and others wait; try again when they "
                "have ended"
            ) from None
        try:
            yield
        finally:
            turn.release()
