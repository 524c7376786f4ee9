"""From the journal to Kafka, in order, and the acknowledgements back into the journal.

It reads callbacks in ``seq`` order, makes records of them, and sends these in batch sets, one at a time. A
callback of which Kafka refuses a record though it is up (too large, no rights, say) is parked. Kafka has
answered for a callback only when each of its records is acknowledged or parked. The producer's memory is
never the storage: whatever fails, the journal is read again from there, with a new producer. What is parked
is tried again beside it (``parked.py``).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from dingbridge.apps.company import Companies
from dingbridge.errors import KafkaUnavailable
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.rows import Acknowledgement, Parked
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.relay.batches import MAX_RECORDS, BatchSet, BatchSetBuilder
from dingbridge.ingress.relay.parked import ParkedCallbacks, wait
from dingbridge.ingress.relay.reading import JournalReader
from dingbridge.ingress.relay.sender import BLOCKING, UP, Refusal, Sender
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.kafka.client import explain
from dingbridge.settings import IngressSettings
from dingbridge.tasks import WatchedTasks

log = structlog.get_logger(__name__)

UNSAVED_MAX: Final = 10_000
"""So many callbacks, at most, are sent beyond what the journal knows to be acknowledged: while the disk takes
no write, a new start would send them again."""
_SAVE_EVERY_S: Final = 0.1
_IDLE_S: Final = 0.5
_ASKED_EVERY_S: Final = 5.0
_SET_EVERY_S: Final = 0.02
"""The least time between batch sets that are not full: each costs as much as dozens of records."""
_BACKOFF_S: Final = (0.2, 5.0)  # first and longest


class Publisher:
    """Publishes ``journal``: call ``run``, ``wake`` when a callback was kept, ``retry`` when an operator
    asks, and ``stop`` at the end."""

    def __init__(
        self,
        settings: IngressSettings,
        companies: Callable[[], Companies],
        journal: Journal,
        status: RelayStatus,
        *,
        until_empty: bool = False,
    ) -> None:
        """``companies`` returns those of the apps as they are configured now. ``until_empty``: end when
        nothing waits, and what is parked was tried once."""
        self._settings, self._journal, self._status = settings, journal, status
        self._until_empty = until_empty
        self._reader = JournalReader(current(journal.root))
        self._sender = Sender(settings, status)
        self._builder = BatchSetBuilder(settings, companies, self._reader)
        self._blocked = self._builder.blocked
        sender = Sender(settings, status)
        self._parked = ParkedCallbacks(journal, self._builder, sender, self._between_sets)
        self._turn = asyncio.Lock()
        """Held while a batch set is built and answered."""
        self._next: BatchSet | None = None  # built while the one before was answered
        self._acked = 0  # each record of the callbacks up to here is in Kafka, or parked
        self._saved = 0  # the same, as the journal has it
        self._unsaved: list[Parked] = []  # to be written with the next acknowledgement
        self._saved_at = 0.0
        self._idling = False
        self._awake, self._hurried = asyncio.Event(), asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something new is in the journal."""
        self._awake.set()

    def retry(self) -> None:
        """Try at once what is parked, also what was refused for itself; cuts a back-off short."""
        self._parked.retry()
        self._hurried.set()
        self._awake.set()

    def stop(self) -> None:
        """End ``run`` once the set under way is acknowledged; all others stay in the journal."""
        self._stopping = True
        self._hurried.set()
        self._awake.set()

    async def run(self) -> None:
        """Publish until ``stop``. No failure of Kafka ends it, nor a disk that takes no write.

        Raises ``JournalError`` when the journal is damaged, ``apsw.Error`` when it cannot be read."""
        journal, self._acked = await self._reader.read(lambda file: (file.id, file.acked()))
        self._saved = self._acked
        self._builder.records.journal = journal
        self._builder.begin(self._acked)
        for group in await self._reader.read(JournalFile.parked_groups):
            if group.reason in BLOCKING:
                self._blocked.block(group.topic, Refusal(group.reason))
        self._blocked.ask()  # a start tries them at once
        try:
            async with WatchedTasks() as tasks:
                tasks.need("that asks whether Kafka is there", self._watch)
                tasks.need("that tries parked callbacks", self._parked.run)
                await self._run()
        finally:
            with suppress(JournalUnavailable):
                await self._save()
            await self._sender.discard(0.1)
            self._reader.close()

    async def _run(self) -> None:
        backoff_s = _BACKOFF_S[0]
        while not self._stopping:
            before = self._acked
            try:
                await self._connect()
                await self._publish()
                return
            except (KafkaError, KafkaUnavailable, TimeoutError) as error:
                self._status.error(error)
                self._status.turn("down", explain(error, self._settings))
            except JournalUnavailable as error:
                self._status.turn("down", f"what Kafka has acknowledged cannot be noted ({error})")
            self._begin_again()
            # long enough for the producer to send what it holds, or to let it expire
            await self._sender.discard(2 * self._settings.kafka_request_timeout_s + 5)
            backoff_s = _BACKOFF_S[0] if self._acked > before else backoff_s
            await wait(self._hurried, backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_S[1])

    async def _connect(self) -> None:
        self._builder.load(await self._sender.metadata())

    def _begin_again(self) -> None:
        """Build the next set behind what Kafka has answered for."""
        self._next = None
        self._builder.begin(self._acked)

    @asynccontextmanager
    async def _between_sets(self) -> AsyncIterator[None]:
        """Wait until all that was sent is answered and noted in the journal; send nothing meanwhile."""
        async with self._turn:
            self._begin_again()
            await self._save()
            yield

    # -- batch sets

    async def _publish(self) -> None:
        while not self._stopping:
            async with self._turn:
                await self._save_if_due()
                batches = self._next = await self._builder.build(self._next)
                sent_at = time.monotonic()
                if batches is not None:
                    await self._send_and_build(batches)
            if batches is None:
                if self._until_empty and self._parked.idle and self._acked == self._saved:
                    return
                await self._idle()
            elif self._next is None or not self._next.full:
                await asyncio.sleep(max(0.0, sent_at + _SET_EVERY_S - time.monotonic()))

    async def _send_and_build(self, batches: BatchSet) -> None:
        """Send ``batches``, and build the next set while Kafka answers. An error of the journal while
        building is raised only afterwards, so that what Kafka acknowledged counts."""
        refused, following = await asyncio.gather(
            self._sender.send(batches.records), self._builder.build(), return_exceptions=True
        )
        if isinstance(refused, BaseException):
            raise refused
        batches.refuse(refused)
        self._settle(batches)
        if isinstance(following, BaseException):
            raise following
        self._next = following
        if refused:  # the next set was built before its topics were blocked
            self._begin_again()
            await self._connect()
            nothing_taken = {topic for topic, _ in batches.records} == {topic for _, topic in refused}
            if nothing_taken and {*refused.values()} == {Refusal.NO_LEADER}:
                words = "Kafka answers, but acknowledges nothing: too few replicas in sync, say"
                self._status.turn("stalled", f"{words}; callbacks are parked meanwhile")

    def _settle(self, batches: BatchSet) -> None:
        """Kafka has answered for the set."""
        # Invariant 2: only here, when each record of these callbacks is acknowledged or parked
        self._acked = batches.last
        for parked in batches.parked.values():
            self._park(parked)
        if batches.since_ms is not None:
            self._status.lagged(time.time() - batches.since_ms / 1000)

    def _park(self, parked: Parked) -> None:
        self._unsaved.append(parked)
        if parked.reason not in BLOCKING:
            log.error("relay.parked", topic=parked.topic, reason=parked.reason, seq=parked.seq)
        elif self._blocked.reason(parked.topic) is None:
            self._blocked.block(parked.topic, Refusal(parked.reason))

    # -- acknowledgements

    async def _save_if_due(self) -> None:
        """Save now and then; a disk that takes no write is waited for before more than ``UNSAVED_MAX`` are
        not saved."""
        while not self._stopping:
            full = self._acked + MAX_RECORDS - self._saved > UNSAVED_MAX
            if not (full or self._unsaved or time.monotonic() - self._saved_at >= _SAVE_EVERY_S):
                return
            try:
                await self._save()
                return
            except JournalUnavailable as error:
                self._saved_at = time.monotonic()
                if not full:
                    return
                self._status.turn("down", f"what Kafka has acknowledged cannot be noted ({error})")
            await wait(self._hurried, _BACKOFF_S[0])

    async def _save(self) -> None:
        """Note in the journal what Kafka has answered. Raises ``JournalUnavailable``."""
        acked, parked = self._acked, self._unsaved
        if acked == self._saved and not parked:
            return
        await self._journal.acknowledge(Acknowledgement(acked, parked))
        self._saved, self._unsaved = acked, []
        self._saved_at = time.monotonic()

    async def _idle(self) -> None:
        self._idling = True
        await wait(self._awake, _IDLE_S if self._acked == self._saved else _SAVE_EVERY_S)
        self._idling = False

    async def _watch(self) -> None:
        """Ask now and then whether Kafka is still there: an idle bridge sends nothing that would show it. The
        client asks one broker after the other; one that is gone takes the time of a request."""
        while True:
            await asyncio.sleep(_ASKED_EVERY_S)
            if not self._idling:  # also while the back-off holds
                continue
            state, words = "up", UP
            try:
                await self._sender.ensure_answers(self._settings.kafka_request_timeout_s + _ASKED_EVERY_S)
            except (KafkaError, KafkaUnavailable) as error:
                state, words = "down", explain(error, self._settings)
            if self._idling and not (state == "up" and self._blocked.any()):
                self._status.turn(state, words)
