"""forward: hands events to one system over HTTP. Each system of ``FORWARD_FILE`` is a consumer of its own.

One event's way: filter (``event_filter.py``), rate, one signed request (``delivery.py``), what its answer
means (``policy.py``), and here what happens to the event. There is no database: what was sent and not yet
committed to Kafka is sent again after a crash, under the same ``webhook-id``.
"""

import math
import time
from typing import Any, ClassVar

import structlog

from dingbridge import Consumer, Context, DependencyUnavailable, Event, Reject, Transaction
from dingbridge.consumers.forward.body import body_of
from dingbridge.consumers.forward.delivery import Sender
from dingbridge.consumers.forward.event_filter import EventFilter
from dingbridge.consumers.forward.metrics import ForwardMetrics
from dingbridge.consumers.forward.policy import FINAL, Answer
from dingbridge.consumers.forward.settings import (
    CHANGES,
    ForwardSettings,
    System,
    credentials_of,
    load_systems,
)
from dingbridge.consumers.forward.signature import webhook_id
from dingbridge.events.event import NotAnEvent
from dingbridge.logging import excerpt
from dingbridge.ssrf import AddressGuard
from dingbridge.throttle import Throttle
from dingbridge.worker.registry import Family, UnknownConsumer

log = structlog.get_logger(__name__)

PREFIX = "forward-"
"""The consumer of system ``a`` is called ``forward-a``."""

PAUSED_KEYS = 2
"""After events of so many keys in a row were not taken, the metric reports that the system takes none."""

GRACE_S = 10
"""Time of a handler beside its turn and its request, in s."""


class Forward(Consumer):
    """The consumer of one system; ``consumer_of`` makes the class."""

    uses_database = False

    system_name: ClassVar[str]
    system: ClassVar[System]
    guard: ClassVar[AddressGuard]

    def __init__(self) -> None:
        """Raises ``SettingsError`` with every secret that is missing or wrong."""
        system = self.system
        self._sender = Sender(system, credentials_of(self.system_name, system), self.guard)
        self._filter = EventFilter(system)
        self._throttle = Throttle(system.rate)
        self._not_taken: set[str] = set()
        self._metrics: ForwardMetrics

    async def start(self) -> None:
        self._metrics = ForwardMetrics(self.system_name, self.registry)
        await self._sender.open()
        system = self.system
        log.info(
            "forward.started",
            system=self.system_name,
            to=system.origin,
            types=len(system.wanted),
            body=system.body,
            signed=bool(system.secrets),
        )

    async def stop(self) -> None:
        await self._sender.close()

    async def prepare(self, event: Event, ctx: Context) -> None:
        """Hand ``event`` over. Raises ``Reject`` or ``DependencyUnavailable``."""
        if not self._filter.wants(event):
            self._metrics.filtered()
            return
        ctx.asks(self.name)
        answer, seconds = await self._send(event, ctx.replay_id)
        facts = {"system": self.system_name, "event_id": excerpt(event.id), "event_type": event.event_type}
        if answer.kind == "taken":
            log.info("forward.taken", **facts, status=answer.status, duration_ms=round(seconds * 1000))
            return
        log.warning("forward.not_taken", **facts, outcome=answer.kind, reason=answer.words)
        words = f"system {self.system_name}: {answer.words}"
        if answer.kind == "refused":
            raise Reject(words)
        # it may be about this event or about all; which, the other events show
        raise DependencyUnavailable(words, after=answer.after_s)

    async def _send(self, event: Event, replay_id: str) -> tuple[Answer, float]:
        """The answer, and how long it took, in s; 0 where nothing could be sent."""
        try:
            content_type, body = body_of(event, self.system.body, self.system.fields)
        except NotAnEvent:
            return Answer("refused", f"an unclassified event has no body of the form {self.system.body}"), 0
        await self._throttle.turn()
        began = time.monotonic()
        answer = await self._sender.post(webhook_id(event), content_type, body, replay_id=replay_id)
        seconds = time.monotonic() - began
        self._metrics.delivered(answer, seconds)
        if answer.kind in FINAL:
            self._not_taken.clear()
        elif len(self._not_taken) < PAUSED_KEYS:
            self._not_taken.add(event.partitionkey)
        self._metrics.paused.set(len(self._not_taken) == PAUSED_KEYS)
        return answer, seconds

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        """All is done in ``prepare``: there is no database to write to."""


def consumer_of(name: str, system: System, guard: AddressGuard) -> type[Forward]:
    """The consumer class of the system ``name``."""
    # more requests than this at the same time would only wait for their turn
    at_once = min(system.concurrency, max(1, math.ceil(system.rate * system.timeout_s)))
    return type(
        "Forward",
        (Forward,),
        {
            "__module__": __name__,
            "name": PREFIX + name,
            "topics": system.topics,
            "new_event_types": system.new_types,
            "control_topics": [CHANGES] if system.changes else [],
            "concurrency": at_once,
            # the turn, the request, and an answer's end
            "handler_timeout_s": GRACE_S + at_once / system.rate + 2 * system.timeout_s,
            "system_name": name,
            "system": system,
            "guard": guard,
        },
    )


def _names() -> list[str]:
    settings = ForwardSettings.load()
    return [PREFIX + name for name in load_systems(settings)] if settings.forward_file else []


def _make(name: str) -> type[Forward]:
    settings = ForwardSettings.load()
    systems = load_systems(settings)
    system_name = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or system_name not in systems:
        known = ", ".join(PREFIX + known for known in systems)
        raise UnknownConsumer(f"FORWARD_FILE declares no consumer {name!r}; its consumers: {known}")
    return consumer_of(system_name, systems[system_name], AddressGuard(settings.allowed))


SYSTEMS = Family(names=_names, make=_make)
"""The entry point ``forward``: one consumer for each system that ``FORWARD_FILE`` declares."""
