"""Whether a system is sent anything just now, how fast, and whose fault a failure is. No I/O.

A failure is the *system's* (nothing connects, 503, 429), or it does not tell (a 500, a time-out: the system
may be down, or this one event may be what it chokes on). The last kind counts against an event only if the
system took another one in the meantime. Several events in a row of which none is taken open the circuit: then
nothing is sent but a probe now and then, and nothing is given up.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dingbridge.worker.retry import ASKED_MAX_S, delay

CircuitState = Literal["closed", "half-open", "open"]

DOUBTS = 5
"""Different events that must fail in a row, with none taken in between, to open the circuit."""

PROBE_FIRST_S = 1
PROBE_MAX_S = 30
"""Between two probes of an open circuit, in s, growing; unless the system asks for more."""

PROBING_S = 1
"""When to look again while somebody else's probe is under way, in s."""

REMEMBERED = 10_000
"""Events whose failures are remembered; of more, the oldest are forgotten, and begin anew."""

Key = tuple[str, str]


class CircuitOpen(Exception):
    """Nothing may be sent now; ``wait_s`` is when to ask again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("the circuit is open")
        self.wait_s = wait_s


class Circuit:
    """The state of one system. ``enter`` before a request; after it exactly one of ``works``, ``down``,
    ``doubt`` or ``leave``, with what ``enter`` returned."""

    def __init__(
        self,
        on_change: Callable[[CircuitState, str], None] = lambda state, reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_change`` gets the new state and the words of why. ``clock`` counts s."""
        self.state: CircuitState = "closed"
        self.reason = ""
        self.works_count = 0
        self._on_change, self._clock = on_change, clock
        self._until = 0.0
        self._openings = 0
        self._doubted: set[Key] = set()

    def check(self) -> None:
        """Raises ``CircuitOpen`` if nothing may be sent now; nothing is changed by asking."""
        wait = self._until - self._clock()
        if self.state == "half-open" or (self.state == "open" and wait > 0):
            raise CircuitOpen(max(wait, PROBING_S))

    def enter(self) -> bool:
        """Whether the request that may now be sent is a probe. Raises ``CircuitOpen``."""
        self.check()
        if self.state == "closed":
            return False
        self._change("half-open", self.reason)
        return True

    def works(self) -> None:
        """The system took an event, or refused one for what it is."""
        self.works_count += 1
        self._openings = 0
        self._doubted.clear()
        if self.state != "closed":
            self._change("closed", "")

    def down(self, probe: bool, reason: str, after_s: float | None) -> float:
        """The system is at fault; ``after_s`` is what it asked for. Returns the s until the next probe."""
        if probe or self.state == "closed":
            self._openings += 1
            self._until = self._clock() + delay(self._openings, PROBE_FIRST_S, PROBE_MAX_S)
            self._change("open", reason)
        # requests that were under way when it opened tell nothing new, but for what they ask for
        self._until = max(self._until, self._clock() + min(after_s or 0, ASKED_MAX_S))
        return max(0.0, self._until - self._clock())

    def doubt(self, probe: bool, key: Key, reason: str, after_s: float | None) -> float | None:
        """Event ``key`` was not taken, whoever is at fault. Returns the s until the next probe if the circuit
        is open, else None."""
        self._doubted.add(key)
        if probe or self.state != "closed" or len(self._doubted) >= DOUBTS:
            return self.down(probe, reason, after_s)
        return None

    def leave(self, probe: bool) -> None:
        """The request came to no end (it was cancelled): the next one may probe."""
        if probe and self.state == "half-open":
            self._change("open", self.reason)

    def _change(self, state: CircuitState, reason: str) -> None:
        changed = state != self.state
        self.state, self.reason = state, reason
        if changed:
            self._on_change(state, reason)


@dataclass(slots=True)
class _Failures:
    counted: int = 0
    worked_before: int = 0


class Blame:
    """How often each event failed by its own fault."""

    def __init__(self) -> None:
        self._failures: OrderedDict[Key, _Failures] = OrderedDict()

    def failed(self, key: Key, works_count: int, *, own_fault: bool = False) -> int:
        """Note a failure of ``key``; returns how many count against the event.

        ``works_count`` is the circuit's: that it has grown since the event's last failure shows that the
        system works, so that this one is the event's. With ``own_fault`` it is in any case.
        """
        known = key in self._failures
        failures = self._failures.pop(key, None) or _Failures()
        self._failures[key] = failures
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        if own_fault or (known and works_count > failures.worked_before):
            failures.counted += 1
        failures.worked_before = works_count
        return failures.counted

    def forget(self, key: Key) -> None:
        """``key`` has come to its end."""
        self._failures.pop(key, None)


class Pace:
    """Spreads requests evenly: at most ``rate`` a second."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s, self._clock = 1 / rate, clock
        self._next = 0.0

    def wait_s(self) -> float:
        """Seconds until the request that asks may be sent; its place is taken thereby."""
        now = self._clock()
        place = max(now, self._next)
        self._next = place + self._gap_s
        return place - now
