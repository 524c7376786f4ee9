"""Slows down who guesses passwords: after some wrong ones each further one has to wait longer."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

FREE: Final = 5
"""Wrong passwords from one address before it has to wait."""
LONGEST_S: Final = 300.0
FORGOTTEN_S: Final = 3600.0
MOST: Final = 10_000
MOST_COUNTED: Final = 32
"""Addresses, and wrong passwords of one: with so many it waits longest anyway."""


class Guesses:
    """Wrong passwords by address; an IPv6 address counts as its /64, which is what one household has.

    A right password forgives those of its own name alone: who has a password could else guess others' for
    ever, with a login of their own between the guesses.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[Counter[str], float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long this address has to wait before its next try, in s; 0: not at all."""
        names, last = self._failed.get(_group(address), (Counter(), 0.0))
        if (count := names.total()) < FREE:
            return 0.0
        return max(0.0, last + min(LONGEST_S, 2.0 ** (count - FREE)) - self._clock())

    def failed(self, address: str, name: str) -> None:
        now, group = self._clock(), _group(address)
        names, last = self._failed.pop(group, (Counter(), now))
        if now - last > FORGOTTEN_S:
            names = Counter()
        if names.total() < MOST_COUNTED:
            names[name] += 1
        self._failed[group] = names, now
        while len(self._failed) > MOST:
            self._failed.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        if (found := self._failed.get(_group(address))) is not None:
            found[0].pop(name, None)


def _group(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return "?"
    return str(parsed) if parsed.version == 4 else parsed.exploded[:19]
