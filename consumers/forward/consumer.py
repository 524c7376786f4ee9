"""forward: hands events to one system over HTTP. Each system of ``FORWARD_FILE`` is a consumer of its own.

One event's way: filter (``selection.py``), pace and circuit (``circuit.py``), one signed request
(``delivery.py``), and here what its answer means for the event. There is no database: what was sent and not
yet committed to Kafka is sent again after a crash, under the same ``webhook-id``.
"""

import asyncio
import math
import sys
import time
from typing import Any, ClassVar, NoReturn

import structlog

from consumers.forward.body import body_of
from consumers.forward.circuit import Blame, Circuit, CircuitOpen, CircuitState, Key, Pace
from consumers.forward.delivery import Answer, Sender
from consumers.forward.metrics import ForwardMetrics
from consumers.forward.selection import Selection
from consumers.forward.settings import ForwardSettings, System, credentials_of, load_systems
from consumers.forward.signature import webhook_id
from dingbridge import (
    Consumer,
    Context,
    DependencyUnavailable,
    Event,
    HandlerOutcome,
    Reject,
    Retry,
    Transaction,
)
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import SettingsError
from dingbridge.events.event import NotAnEvent
from dingbridge.ssrf import AddressGuard
from dingbridge.worker.registry import Family, UnknownConsumer

log = structlog.get_logger(__name__)

PREFIX = "forward-"
"""The consumer of system ``a`` is called ``forward-a``."""

LOOKUPS_S = 60
"""How long the questions to DingTalk about one event may take together, in s."""


class Forward(Consumer):
    """The consumer of one system; ``consumer_of`` makes the class."""

    uses_database = False
    max_attempts = sys.maxsize  # whose fault a failure is, and when to give up, is told here (``Blame``)
    retry_first_s = 1
    retry_max_s = 60

    system_name: ClassVar[str]
    system: ClassVar[System]
    guard: ClassVar[AddressGuard]

    def __init__(self) -> None:
        """Raises ``SettingsError`` with every secret that is missing or wrong."""
        system = self.system
        self._sender = Sender(system, credentials_of(self.system_name, system), self.guard)
        self._selection = Selection(system, lambda: self.dingtalk)
        self._circuit, self._blame = Circuit(self._changed), Blame()
        self._pace = Pace(system.rate)
        self._metrics: ForwardMetrics

    async def start(self) -> None:
        self._metrics = ForwardMetrics(self.system_name, self.registry)
        await self._sender.open()
        system = self.system
        log.info(
            "forward.started",
            system=self.system_name,
            to=system.origin,
            types=len(system.topics),
            body=system.body,
            signed=bool(system.secrets),
        )

    async def stop(self) -> None:
        await self._sender.close()

    async def prepare(self, event: Event, ctx: Context) -> None:
        """Hand ``event`` over. Raises ``Reject``, ``Retry`` or ``DependencyUnavailable``, or DingTalk's
        ``ApiError``."""
        key = (event.source, event.id)
        try:
            if await self._selection.wants(event):
                await self._deliver(event, key)
            else:
                self._metrics.filtered()
        except Reject:
            self._ended(event, key)
            raise
        except (HandlerOutcome, SettingsError):
            raise
        except Exception as error:
            if isinstance(error, ApiError) and error.world_down:
                raise
            if self._blame.failed(key, self._circuit.works_count, own_fault=True) >= self.system.attempts:
                self._ended(event, key)
                raise Reject(f"{type(error).__name__}, at every attempt") from error
            raise
        self._ended(event, key)

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        """All is done in ``prepare``: there is no database to write to."""

    async def _deliver(self, event: Event, key: Key) -> None:
        try:
            content_type, body = body_of(event, self.system.body)
        except NotAnEvent:
            raise Reject(f"an unclassified event has no body of the form {self.system.body}") from None
        try:
            self._circuit.check()  # who may not send takes nobody's turn
            wait = self._pace.wait_s()
            if wait > 0:
                await asyncio.sleep(wait)
            probe = self._circuit.enter()
        except CircuitOpen as closed:
            raise DependencyUnavailable(self._words(self._circuit.reason), after=closed.wait_s) from None
        answer = None
        began = time.monotonic()
        try:
            answer = await self._sender.post(
                webhook_id(event), content_type, body, traceparent=event.traceparent
            )
        finally:
            if answer is None:
                self._circuit.leave(probe)
        self._metrics.delivered(answer.kind, time.monotonic() - began)
        if answer.kind == "taken":
            self._circuit.works()
        else:
            self._not_taken(event, key, probe, answer)

    def _not_taken(self, event: Event, key: Key, probe: bool, answer: Answer) -> NoReturn:
        """Says what becomes of ``event``. A failed answer may be this event's alone, so it waits by itself
        (``Retry``), and the next probe is another event; without any answer all wait
        (``DependencyUnavailable``)."""
        circuit, words, after_s = self._circuit, answer.words, answer.after_s
        log.warning(
            "forward.not_taken",
            system=self.system_name,
            event_id=event.id,
            event_type=event.event_type,
            outcome=answer.kind,
            reason=words,
            probe=probe,
        )
        if answer.kind == "unreachable":
            raise DependencyUnavailable(self._words(words), after=circuit.down(probe, words, after_s))
        if answer.kind == "refused":
            circuit.works()
            raise Reject(self._words(words))
        if answer.kind == "busy":
            raise Retry(self._words(words), after=circuit.down(probe, words, after_s))
        closed_for_s = circuit.doubt(probe, key, words, after_s)
        if answer.kind == "unwelcome":
            if closed_for_s is None:
                raise Reject(self._words(words))
        elif self._blame.failed(key, circuit.works_count) >= self.system.attempts:
            raise Reject(self._words(words))
        raise Retry(self._words(words), after=closed_for_s or after_s)

    def _ended(self, event: Event, key: Key) -> None:
        self._blame.forget(key)
        self._selection.forget(event)

    def _changed(self, state: CircuitState, reason: str) -> None:
        self._metrics.circuit(state)
        if state == "open":
            log.warning("forward.circuit_open", system=self.system_name, reason=reason)
        elif state == "closed":
            log.info("forward.circuit_closed", system=self.system_name)

    def _words(self, words: str) -> str:
        return f"system {self.system_name}: {words}"


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
            "concurrency": at_once,
            # the turn, the request, and an answer's end
            "handler_timeout_s": LOOKUPS_S + at_once / system.rate + 2 * system.timeout_s,
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
    if system_name not in systems:
        known = ", ".join(PREFIX + known for known in systems)
        raise UnknownConsumer(f"FORWARD_FILE declares no system {system_name!r}; its consumers: {known}")
    return consumer_of(system_name, systems[system_name], AddressGuard(settings.allowed))


SYSTEMS = Family(names=_names, make=_make)
"""The entry point ``forward``: one consumer for each system that ``FORWARD_FILE`` declares."""
