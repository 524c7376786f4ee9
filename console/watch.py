"""Looks at the listeners now and then, for all who watch together, and keeps what a rate needs.

While somebody watches, each 3 s; else once a minute, and ``/metrics`` alone: only today's figures need that.
What the readings mean is ``console/line/``'s.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from console.line.model import Part, State, Trouble, line, worst
from console.line.today import Today
from console.line.window import INGRESS, Reading
from console.sources.groups import Group
from console.sources.groups import look as look_at_groups
from console.sources.listeners import Listeners
from dingbridge.error_location import error_location
from dingbridge.errors import BridgeError
from dingbridge.settings import KafkaSettings
from dingbridge.worker.registry import known_consumers
from dingbridge.worker.supervise import being_cancelled

log = structlog.get_logger(__name__)

EACH_S: Final = 3.0
IDLE_EACH_S: Final = 60.0
WATCHED_S: Final = 60.0
"""For so long after a page was asked for somebody is watching."""
WINDOW_S: Final = 60.0
"""Rates and quantiles are those of the last minute."""
GROUPS_EACH_S: Final = 10.0
FIRST_WITHIN_S: Final = 3.0
"""How long a page waits for a reading when nobody has watched before; then it says that there is none yet."""


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows. ``at`` is when it was looked (epoch s), None before the first look; ``since`` has
    the moment from which each trouble was seen, by kind and consumer."""

    at: float | None = None
    rates: bool = False
    parts: Sequence[Part] = ()
    readings: Sequence[Reading] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)
    groups_problem: str = ""
    since: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def worst(self) -> Part | None:
        return worst(self.parts)


class Watch:
    """``start`` it, ask ``view`` for each page, ``stop`` it."""

    def __init__(self, settings: KafkaSettings, listeners: Listeners) -> None:
        self._settings, self._listeners = settings, listeners
        self.today = Today()
        self.consumers = known_consumers()
        self._ring: deque[Sequence[Reading]] = deque()
        self._last: Sequence[Reading] = ()
        self._groups: Mapping[str, Group] = {}
        self._groups_problem = ""
        self._view = View()
        self._since: dict[tuple[str, str, str], float] = {}
        self._viewed = -WATCHED_S
        self._wanted, self._looked = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._again(self._look, self._pace_s))]
        self._tasks.append(asyncio.create_task(self._again(self._look_at_groups, lambda: GROUPS_EACH_S)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def watched(self) -> bool:
        return time.monotonic() - self._viewed < WATCHED_S

    async def view(self) -> View:
        """How the line is. Never waits for what does not answer, but for a first look, shortly."""
        fresh = self.watched and self._view.at is not None
        self._viewed = time.monotonic()
        if self._tasks and not fresh:
            self._looked.clear()
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_WITHIN_S):
                    await self._looked.wait()
        return self._view

    def show(self, view: View) -> None:
        """From now on pages are given ``view``."""
        self._view = view

    def _pace_s(self) -> float:
        return EACH_S if self.watched else IDLE_EACH_S

    async def _again(
        self, look: Callable[[], Coroutine[Any, Any, None]], pace_s: Callable[[], float]
    ) -> None:
        """A fault of ours must not end the watching."""
        while True:
            try:
                await look()
            except (Exception, asyncio.CancelledError) as error:
                if being_cancelled():
                    raise
                log.error("console.watch_failed", error=error_location(error, "console"))
            with suppress(TimeoutError):
                async with asyncio.timeout(pace_s()):
                    await self._wanted.wait()
                    await asyncio.sleep(0)
            self._wanted.clear()

    async def _look(self) -> None:
        watched = self.watched
        readings = await self._read(metrics_only=not watched)
        self.today.add(self._last, readings)
        self._last = readings
        now = time.time()
        self._ring.append(readings)
        while len(self._ring) > 1 and all(reading.at < now - WINDOW_S for reading in self._ring[1]):
            self._ring.popleft()
        if not watched:
            self._since = {}
            return
        self._judge(readings, now)
        self._looked.set()

    def _judge(self, readings: Sequence[Reading], now: float) -> None:
        before = self._ring[0] if len(self._ring) > 1 else ()
        parts = line(before, readings, self._groups, list(self.consumers))
        before_since, self._since = self._since, {}
        since: dict[tuple[str, str], float] = {}
        for part in parts:
            if part.trouble is not None and part.state > State.UNKNOWN:
                known = part.kind, part.consumer, part.trouble.code
                self._since[known] = _earlier(part.trouble, before_since.get(known, now))
                since[known[:2]] = self._since[known]
        self.show(View(now, bool(before), parts, readings, self._groups, self._groups_problem, since))

    async def _read(self, *, metrics_only: bool) -> Sequence[Reading]:
        """One question after the other, all listeners side by side."""
        now, asked = time.time(), self._listeners
        answers = await asked.metrics()
        ready: dict[tuple[str, str], Any] = {}
        held: dict[tuple[str, str], Any] = {}
        if not metrics_only:
            ready = {(a.name, a.url): a for a in await asked.json("/readyz")}
            names = {answer.name for answer in answers} - {INGRESS}
            for found in await asyncio.gather(*(asked.json("/in-flight", name) for name in names)):
                held |= {(a.name, a.url): a.value for a in found if isinstance(a.value, dict)}
        readings = []
        for answer in answers:
            place = answer.name, answer.url
            if answer.value is None:
                readings.append(Reading(*place, now, problem=answer.problem or "does not answer"))
                continue
            state = ready.get(place)
            details = state.value if state is not None and isinstance(state.value, dict) else {}
            is_ready = state is None or state.status == 200
            readings.append(Reading(*place, now, "", is_ready, details, answer.value, held.get(place, {})))
        return readings

    async def _look_at_groups(self) -> None:
        if not self.watched:
            return
        try:
            self._groups = await look_at_groups(self._settings, list(self.consumers))
            self._groups_problem = ""
        except BridgeError as error:
            self._groups_problem = str(error)


def _earlier(trouble: Trouble, seen: float) -> float:
    """The part itself may know for how long."""
    return seen if trouble.since is None else min(seen, trouble.since)
