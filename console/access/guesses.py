"""Slows down guesses of passwords, and no other login.

After some wrong passwords for a name from an address, each further try waits longer. Other names from that
address do not wait for it: a whole office may be behind one address. Guesses at many names are slowed since
an address has one password checked at a time.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final

FREE: Final = 5
"""Wrong passwords for a name from one address before it has to wait."""
LONGEST_S: Final = 300.0
FORGOTTEN_S: Final = 3600.0
MOST: Final = 50_000
"""Pairs of name and address that are kept: pushing one out takes longer than waiting."""
MOST_COUNTED: Final = 32
"""Wrong passwords that are counted: after so many the wait is the longest."""

MOST_WAITING: Final = 100
"""Passwords of one address that wait to be checked."""


class Guesses:
    """Wrong passwords by name and address; an IPv6 address counts as its /64, which is what a household has.

    A right password forgives those of its own name from its own address.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._turns: dict[str, asyncio.Lock] = {}
        self._one = asyncio.Lock()

    def wait_s(self, address: str, name: str) -> float:
        """How long the next try at this name from this address has to wait, in s; 0: not at all."""
        count, last = self._failed.get((group_of(address), name), (0, 0.0))
        if count < FREE:
            return 0.0
        return max(0.0, last + min(LONGEST_S, 2.0 ** (count - FREE)) - self._clock())

    def failed(self, address: str, name: str) -> None:
        now, key = self._clock(), (group_of(address), name)
        count, last = self._failed.pop(key, (0, now))
        if now - last > FORGOTTEN_S:
            count = 0
        self._failed[key] = min(count + 1, MOST_COUNTED), now
        while len(self._failed) > MOST:
            self._failed.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        self._failed.pop((group_of(address), name), None)

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[bool]:
        """One password is checked at a time, and the addresses take turns, so a flood from one delays only
        that one. False, at once, if too many of this address wait already."""
        group = group_of(address)
        if self._waiting[group] >= MOST_WAITING:
            yield False
            return
        self._waiting[group] += 1
        try:
            async with self._turns.setdefault(group, asyncio.Lock()), self._one:
                yield True
        finally:
            self._waiting[group] -= 1
            if not self._waiting[group]:
                del self._waiting[group], self._turns[group]


def group_of(address: str) -> str:
    """The address; of IPv6 its /64. ``?`` for what is none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "?"
    return str(parsed) if parsed.version == 4 else parsed.exploded[:19]
