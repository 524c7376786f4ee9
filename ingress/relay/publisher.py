"""From the journal to Kafka, in order, and the acknowledgements back into the journal.

It reads callbacks in ``seq`` order, makes records of them, and sends these in batch sets, one at a time. A
callback of which Kafka refuses a record though it is up (too large, no rights, say) is parked. Kafka has
answered for a callback only when each of its records is acknowledged or parked. The producer's memory is
never the storage: whatever fails, the journal is read again from there, with a new producer.

To try a blocked topic again, the next batch set is made of its parked callbacks: the first alone, then
``PAGE`` at a time, until none is left.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import apsw
import structlog
from aiokafka.errors import KafkaError

from dingbridge.apps.company import Companies
from dingbridge.errors import KafkaUnavailable
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.rows import Acknowledgement, Parked
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.relay.batches import MAX_RECORDS, BatchSet, BatchSetBuilder, Page
from dingbridge.ingress.relay.reading import JournalReader
from dingbridge.ingress.relay.sender import BLOCKING, NOT_BY_HAND, UP, Refusal, Sender
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.kafka.client import explain
from dingbridge.settings import IngressSettings
from dingbridge.tasks import end

log = structlog.get_logger(__name__)

UNSAVED_MAX: Final = 10_000
"""So many callbacks, at most, are sent beyond what the journal knows to be acknowledged: while the disk takes
no write, a new start would send them again."""
_SAVE_EVERY_S: Final = 0.1
_IDLE_S: Final = 0.5
_ASKED_EVERY_S: Final = 5.0
_SET_EVERY_S: Final = 0.02
_PER_RECORD_S: Final = 0.002
"""After a batch set that is not full the next one waits so long for each of its records, ``_SET_EVERY_S`` at
most. A set costs as much CPU as dozens of records: so many of them share one, and a few do not wait."""
_RETRY_WITHIN_S: Final = 5.0
BY_HAND_PAGE: Final = 20
"""How many of the callbacks that were refused for themselves are tried at once: each may be refused again,
and all others wait."""
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
        self._acked = 0  # each record of the callbacks up to here is in Kafka, or parked
        self._saved = 0  # the same, as the journal has it
        self._unsaved: list[Parked] = []  # to be written with the next acknowledgement
        self._saved_at = 0.0
        self._one_save = asyncio.Lock()
        self._saving: asyncio.Task[None] | None = None  # beside the publishing
        self._idling = False
        self._checking: asyncio.Task[list[str]] | None = None  # which due topics may take records
        self._by_hand: int | None = None
        """An operator asks: what is tried by hand alone is tried once, behind this ``seq``."""
        self._awake, self._hurried = asyncio.Event(), asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something new is in the journal."""
        self._awake.set()

    def retry(self) -> None:
        """Try at once what is parked, also what was refused for itself; cuts a back-off short."""
        self._by_hand = 0
        self._blocked.ask()
        self._sender.retry()
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
        journal, self._acked = await self._reader.begin()
        self._saved = self._acked
        self._builder.records.journal = journal
        self._builder.begin(self._acked)
        for group in await self._reader.parked_groups():
            if group.reason in BLOCKING:
                self._blocked.block(group.topic, Refusal(group.reason))
        self._blocked.ask()  # a start tries them at once
        watching = asyncio.create_task(self._watch())
        try:
            await self._run()
        finally:
            await end(watching, self._checking)
            with suppress(JournalUnavailable):
                await self._save()
            await end(self._saving)
            await self._sender.discard(0.1)
            with suppress(apsw.Error):  # a read that was cut off may still use it
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
            self._builder.begin(self._acked)
            # long enough for the producer to send what it holds, or to let it expire
            await self._sender.discard(2 * self._settings.kafka_request_timeout_s + 5)
            backoff_s = _BACKOFF_S[0] if self._acked > before else backoff_s
            await _wait(self._hurried, backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_S[1])

    async def _connect(self) -> None:
        await self._sender.connected()
        await self._builder.connect()

    # -- batch sets

    async def _publish(self) -> None:
        current: BatchSet | None = None
        while not self._stopping:
            await self._save_if_due()
            self._check_due()
            if current is None:  # nothing is sent and unanswered, and no set is being built
                await self._try_parked()
                current = await self._builder.build()
            if current is None:
                if self._until_empty and not self._left():
                    return
                await self._idle()
                continue
            next_at = time.monotonic() + min(_SET_EVERY_S, _PER_RECORD_S * current.count)
            current = await self._send_and_build(current)
            if current is None or not current.full:
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
                if current is not None and not self._may_try:
                    current = await self._builder.build(current)

    async def _send_and_build(self, current: BatchSet) -> BatchSet | None:
        """Send ``current``, and behind a full set build the next one while Kafka answers. An error of the
        journal while building is raised only afterwards, so that what Kafka acknowledged counts. When parked
        callbacks may be tried, no set is built, so that their turn comes next."""
        refused, following = await asyncio.gather(
            self._sender.send(current.records),
            self._builder.build() if current.full and not self._may_try else asyncio.sleep(0),
            return_exceptions=True,
        )
        if isinstance(refused, BaseException):
            raise refused
        current.refuse(refused)
        self._settle(current)
        if isinstance(following, BaseException):
            raise following
        if any(reason in BLOCKING for reason in refused.values()):
            # the next set was built before its topics were blocked
            self._builder.begin(self._acked)
            await self._connect()
            return None
        return following

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

    def _left(self) -> bool:
        """Return whether anything is not saved yet, or parked and to be tried now."""
        to_try = self._may_try or self._checking is not None or bool(self._blocked.due())
        return to_try or not self._is_saved

    # -- parked callbacks

    @property
    def _may_try(self) -> bool:
        """Whether parked callbacks are to be tried next."""
        return self._by_hand is not None or (self._checking is not None and self._checking.done())

    def _check_due(self) -> None:
        """Have Kafka asked beside the publishing which of the due topics may take records."""
        if self._checking is None and (due := self._blocked.due()):
            self._checking = asyncio.create_task(self._builder.ready(due))
            self._checking.add_done_callback(lambda _: self._awake.set())

    async def _try_parked(self) -> None:
        """Try a page of what is due. Call it only while no batch set is unanswered."""
        if self._checking is not None and self._checking.done():
            ready, self._checking = self._checking.result(), None
            await self._try({topic: (BLOCKING, self._blocked.page(topic), 0) for topic in ready})
        elif self._by_hand is not None:
            more = await self._try({None: (NOT_BY_HAND, BY_HAND_PAGE, self._by_hand)})
            self._by_hand = more.get(None)

    async def _try(self, wanted: Mapping[str | None, Page]) -> dict[str | None, int]:
        """Send a page of the parked callbacks of each topic: those with these reasons (None: of all topics,
        with any but these), so many, behind that ``seq``. Returns the last ``seq`` of each that may have
        more."""
        await self._save()  # what was parked meanwhile is in the file, so that the order holds
        batches, tried, more = await self._builder.build_parked(wanted, self._acked)
        batches.refuse(await self._sender.send(batches.records, _RETRY_WITHIN_S))
        again = list(batches.parked.values())
        sent = [one for one in tried if (one.seq, one.topic) not in batches.parked]
        await self._journal.acknowledge(Acknowledgement(None, again, sent))
        refused = {one.topic: Refusal(one.reason) for one in again if one.reason in BLOCKING}
        for topic, reason in refused.items():
            self._blocked.block(topic, reason)
        for taken in wanted.keys() - refused.keys() - {None}:
            self._blocked.taken(str(taken), all_of_it=taken not in more)
        if refused:
            await self._connect()
        return more

    # -- acknowledgements

    async def _save_if_due(self) -> None:
        """Save now and then, beside the publishing. Wait for the save of what was parked, and for a disk that
        takes no write before more than ``UNSAVED_MAX`` are not saved."""
        while not self._stopping:
            full = self._acked + MAX_RECORDS - self._saved > UNSAVED_MAX
            waits = full or bool(self._unsaved)
            due = waits or time.monotonic() - self._saved_at >= _SAVE_EVERY_S
            if self._saving is None and due and not self._is_saved:
                self._saving = asyncio.create_task(self._save())
            if self._saving is None or not (waits or self._saving.done()):
                return
            saving, self._saving = self._saving, None
            try:
                await saving
            except JournalUnavailable as error:
                if not full:
                    return
                self._status.turn("down", f"what Kafka has acknowledged cannot be noted ({error})")
                await _wait(self._hurried, _BACKOFF_S[0])

    @property
    def _is_saved(self) -> bool:
        return self._acked == self._saved and not self._unsaved

    async def _save(self) -> None:
        """Note in the journal what Kafka has answered. Raises ``JournalUnavailable``."""
        async with self._one_save:
            if self._is_saved:
                return
            acked, parked = self._acked, list(self._unsaved)
            self._saved_at = time.monotonic()
            await self._journal.acknowledge(Acknowledgement(acked, parked))
            self._saved = acked
            del self._unsaved[: len(parked)]

    async def _idle(self) -> None:
        self._idling = True
        if not self._may_try:
            await _wait(self._awake, _IDLE_S if self._is_saved else _SAVE_EVERY_S)
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


async def _wait(event: asyncio.Event, most_s: float) -> None:
    """Wait for ``event``, ``most_s`` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await event.wait()
    event.clear()
