"""Looks at the listeners and at what waits, for all who watch together, and keeps what a rate needs.

While somebody watches, each 3 s; else once a minute, for today's figures. What the readings mean is
``console/line/``'s.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import apsw
from sqlalchemy.exc import DBAPIError

from dingbridge import DependencyUnavailable
from dingbridge.console.index.feed import Feed
from dingbridge.console.index.store import Index
from dingbridge.console.index.trend import Trend, add_freshness, trend
from dingbridge.console.line.model import line
from dingbridge.console.line.part import Part
from dingbridge.console.line.today import FRESHNESS, Today
from dingbridge.console.line.waiting import OUTBOUND, Waiting
from dingbridge.console.line.window import INGRESS, Reading, Window
from dingbridge.console.settings import ConsoleSettings
from dingbridge.console.sources.databases import Databases
from dingbridge.console.sources.kafka import AskKafka
from dingbridge.console.sources.listeners import Listeners
from dingbridge.consumers.outbound import waiting as outbound
from dingbridge.errors import BridgeError
from dingbridge.kafka.group_lag import Group
from dingbridge.kafka.group_lag import look as look_at_groups
from dingbridge.kafka.topic_policy import inbox_topic, topics_read
from dingbridge.worker.registry import known_consumers

EACH_S: Final = 3.0
IDLE_EACH_S: Final = 60.0
WATCHED_S: Final = 60.0
"""For so long after a page was asked for somebody is watching."""
WINDOW_S: Final = 60.0
"""Rates and quantiles are those of the last minute."""
GROUPS_EACH_S: Final = 10.0
GROUPS_WITHIN_S: Final = 5.0
"""Of many groups; no page waits for it."""
MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows. ``at`` is when it was looked (epoch s), None before the first look."""

    at: float | None = None
    parts: Sequence[Part] = ()
    readings: Sequence[Reading] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)
    groups_problem: BridgeError | None = None
    waiting: Waiting = field(default_factory=Waiting)


class Watch:
    """``start`` it, ask ``view`` for each page, ``stop`` it."""

    def __init__(
        self,
        settings: ConsoleSettings,
        listeners: Listeners,
        ask_kafka: AskKafka,
        feed: Feed,
        index: Index,
        databases: Databases,
    ) -> None:
        """``index`` knows the dead letters, as far as ``feed`` has filled it."""
        self._settings, self._listeners, self._ask_kafka = settings, listeners, ask_kafka
        self._feed, self._index, self._databases = feed, index, databases
        chosen = set(settings.console_consumers)
        known = known_consumers()
        self.consumers = {name: cls for name, cls in known.items() if not chosen or name in chosen}
        self._expected = settings.console_consumers or list(known)
        self.today = Today()
        self._ring: deque[Sequence[Reading]] = deque()
        self._groups: Mapping[str, Group] = {}
        self._groups_problem: BridgeError | None = None
        self._view = View()
        self.waiting = Waiting(unread=None)
        self.trend: Trend | None = None
        """The last 24 hours, as of the last minute in which somebody watched."""
        self._viewed = -WATCHED_S
        self._wanted = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        """While it runs; none of them ends before ``stop``, but by a fault of ours."""

    async def start(self) -> None:
        looks = {
            "waiting": (self._look_at_what_waits, EACH_S),
            "listeners": (self._look, EACH_S),
            "groups": (self._look_at_groups, GROUPS_EACH_S),
            "trend": (self._look_at_the_day, MINUTE_S),
        }
        self.tasks = [
            asyncio.create_task(self._again(*each), name=f"that looks at the {what}")
            for what, each in looks.items()
        ]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def watched(self) -> bool:
        return time.monotonic() - self._viewed < WATCHED_S

    def view(self) -> View:
        """How the line was at the last look; where nobody has watched, the next one follows at once."""
        if not self.watched:
            self._wanted.set()
        self._viewed = time.monotonic()
        return self._view

    def dead_letters(self) -> Mapping[str, int]:
        """How many wait of each consumer of which any does."""
        return {consumer: count for consumer, (count, _) in self.waiting.dead_letters.items()}

    def show(self, view: View) -> None:
        """From now on pages are given ``view``."""
        self._view = view

    async def _again(self, look: Callable[[], Coroutine[Any, Any, None]], each_s: float) -> None:
        while True:
            self._wanted.clear()
            await look()
            with suppress(TimeoutError):
                async with asyncio.timeout(each_s if self.watched else IDLE_EACH_S):
                    await self._wanted.wait()

    async def _look(self) -> None:
        readings = await self._read()
        if self._ring:
            self.today.add(self._ring[-1], readings)
        now = time.time()
        self._ring.append(readings)
        while len(self._ring) > 1 and all(reading.at < now - WINDOW_S for reading in self._ring[1]):
            self._ring.popleft()
        before = self._ring[0] if len(self._ring) > 1 else ()
        groups = {} if self._groups_problem else self._groups  # the line shows what is known now
        parts = line(before, readings, groups, self._expected, self.waiting)
        self.show(View(now, parts, readings, self._groups, self._groups_problem, self.waiting))

    async def _read(self) -> Sequence[Reading]:
        """Three questions side by side, to all listeners side by side."""
        now, asked = time.time(), self._listeners
        answers = await asyncio.gather(asked.metrics(), asked.json("/readyz"), asked.json("/in-flight"))
        readings = []
        for metrics, ready, asked_in_flight in zip(*answers, strict=True):
            place = metrics.name, metrics.url
            if metrics.value is None:
                readings.append(Reading(*place, now, problem=metrics.problem or "does not answer"))
                continue
            details = ready.value if isinstance(ready.value, dict) else {}
            in_flight = asked_in_flight.value if isinstance(asked_in_flight.value, dict) else {}
            readings.append(Reading(*place, now, "", ready.status == 200, details, metrics.value, in_flight))
        return readings

    def _topics(self) -> dict[str, list[str]]:
        """The topics that each consumer reads: none for a consumer that is not installed here."""
        named = (name for name, _ in self._listeners.listeners if name != INGRESS)
        read = {
            name: [
                *topics_read(self._settings, cls.topics, cls.control_topics),
                inbox_topic(self._settings, name),
            ]
            for name, cls in self.consumers.items()
        }
        return {name: read.get(name, []) for name in dict.fromkeys([*self._expected, *named])}

    async def _look_at_groups(self) -> None:
        try:
            self._groups = await self._ask_kafka(
                lambda: look_at_groups(self._settings, self._topics()), GROUPS_WITHIN_S
            )
            self._groups_problem = None
        except BridgeError as error:  # what was known is shown still
            self._groups_problem = error

    async def _look_at_what_waits(self) -> None:
        unread = self._feed.state.behind  # before the count: what comes meanwhile is in neither
        try:
            letters = await asyncio.to_thread(self._index.waiting_letters)
        except BridgeError:
            letters, unread = {}, None
        self.waiting = Waiting(letters, unread, await self._outbound())

    async def _outbound(self) -> Mapping[str, int] | None:
        """What waits in outbound's tables; None where they are not there, or do not answer."""
        try:
            return await outbound.counts(self._databases.reader(OUTBOUND))
        except (DependencyUnavailable, DBAPIError):
            return None

    async def _look_at_the_day(self) -> None:
        now = time.time()
        names = {reading.name for reading in self._ring[-1]} - {INGRESS} if self._ring else set()
        windows = {name: Window.of(name, self._ring[0], self._ring[-1]) for name in names}
        p99_s = {name: window.p99(FRESHNESS, consumer=name) for name, window in windows.items()}
        with suppress(apsw.Error, BridgeError):  # the feed reports faults of disk and file
            fresh = {name: seconds for name, seconds in p99_s.items() if seconds is not None}
            await asyncio.to_thread(add_freshness, self._index, now, fresh)
            if self.watched:
                self.trend = await asyncio.to_thread(trend, self._index, now)
