"""A ledger in memory for many pollers, a failed list as DingTalk has it, and processes that die at a step."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from dingbridge.dingtalk.api.callbacks import FailedPage
from dingbridge.events import decode as decode_event
from dingbridge.settings import KafkaSettings
from ingress.journal.store import NewCallback
from ingress.metrics import RecoveryMetrics
from ingress.recovery.convert import turn_item
from ingress.recovery.ledger import Ledger, Note, decode
from ingress.recovery.ledger_topic import parts
from ingress.recovery.orders import Orders
from ingress.recovery.poller import Poller
from simulator.pushes.failed import FailedList

LEASE_S = 60.0
CORP = "dingcorp01"


class Died(BaseException):
    """The process is gone: nothing of it runs any more."""


class Broker:
    """What Kafka has. Every log of it folds the same notes; ``now_ms`` is the broker's clock."""

    def __init__(self):
        self.notes, self.sent, self.now_ms = [], [], 1_731_000_000_000

    def kinds(self):
        return [note.kind for note, _ in self.notes]

    def orders(self):
        """The wishes to look anew, once for each id: an inbox removes the others."""
        found = {}
        for topic, value in self.sent:
            event = decode_event(value)
            found[topic, event.id] = event
        return list(found.items())


class MemoryLog:
    """The ledger as one process sees it; ``dead`` once it is gone, and then writes nothing."""

    def __init__(self, broker, process):
        self.ledger, self._broker, self._process, self._read = Ledger(), broker, process, 0
        self._catch_up()

    def _catch_up(self):
        while self._read < len(self._broker.notes):
            self.ledger.apply(*self._broker.notes[self._read])
            self._read += 1

    async def write(self, note):
        for part in parts(note):
            await self._process.come_to(f"before {part.kind}")
            self._broker.now_ms += 10
            self._broker.notes.append((decode(part.encode()), self._broker.now_ms))
            await self._process.come_to(f"after {part.kind}")
        self._catch_up()

    async def send(self, topic, key, value, headers):
        self._process.reach("before order")
        self._broker.sent.append((topic, value))
        self._process.reach("after order")


class Source:
    """DingTalk's list, read by one process."""

    destroys = True

    def __init__(self, failed, process):
        self.failed, self.process, self.raises = failed, process, None

    async def page(self):
        await self.process.come_to("before call")
        items, more = self.failed.read()
        await self.process.come_to("after call")
        if self.raises is not None:
            raise self.raises
        return FailedPage([i if isinstance(i, dict) else {"item": i} for i in items], more)

    async def kept(self, items):
        return []

    def turn(self, item):
        return turn_item(item)


class Process:
    """One poller with its journal. It dies the first time that it reaches ``dies_at``; at ``freezes_at`` it
    stands ``still`` until it is ``thawed``, an hour later by every clock."""

    def __init__(self, broker, failed, journal, dies_at=None, freezes_at=None):
        self.broker, self.journal, self.dies_at, self.dead = broker, journal, dies_at, False
        self.freezes_at, self.still, self.thawed = freezes_at, asyncio.Event(), asyncio.Event()
        self.on_reach = lambda place: None
        self.reached = []
        self.source = Source(failed, self)
        self.metrics = RecoveryMetrics(CollectorRegistry())
        self.poller = Poller(
            app="default",
            source=self.source,
            opened=self._opened,
            append=self._append,
            orders=Orders(KafkaSettings(), "default"),
            metrics=self.metrics,
            lease_s=LEASE_S,
            clock=lambda: 3600.0 if self.thawed.is_set() else 0.0,
        )

    def reach(self, place):
        if self.dead:
            raise Died
        self.reached.append(place)
        self.on_reach(place)
        if place == self.dies_at:
            self.dead = True
            raise Died

    async def come_to(self, place):
        self.reach(place)
        if place == self.freezes_at and not self.still.is_set():
            self.still.set()
            await self.thawed.wait()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[MemoryLog]:
        yield MemoryLog(self.broker, self)

    async def _append(self, entry: NewCallback) -> bool:
        self.reach("before store")
        new = entry.key not in self.journal
        self.journal.setdefault(entry.key, entry)
        self.reach("after store")
        return new


def item(number, tag="user_modify_org"):
    return {
        tag: {"userid": [f"u{number}"], "corpid": CORP},
        "call_back_tag": tag,
        "event_time": 1_731_000_000_000 + number,
    }


def listed(count):
    failed = FailedList()
    for number in range(count):
        failed.add(item(number))
    return failed


def note(kind, poller, intent="", **values):
    return Note(kind, poller, round(LEASE_S * 1000), intent, **values)
