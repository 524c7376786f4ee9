"""The journal's writer: keeps callbacks durably, many with one fsync, before anyone is told ``success``.

The event loop gathers what one turn of it brings and hands that over a queue to one thread, which commits
whatever has queued up as one group. So a stalled disk never stalls the loop, an answer waits for one fsync at
most twice, and thread and loop meet once for a group. The thread also deletes what is old, and puts a damaged
journal aside. What a callback *means* is decided behind the journal, by the relay.
"""

import asyncio
import enum
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import apsw
import structlog

from ingress.errors import JournalError, JournalUnavailable
from ingress.journal.directory import current
from ingress.journal.metrics import JournalMetrics
from ingress.journal.retention import Retention, RetentionJob
from ingress.journal.rows import NewCallback, ResyncRequest
from ingress.journal.startup import Damaged, open_current, put_aside, refused_by_disk, reopen
from ingress.journal.store import DAMAGE, JournalFile

log = structlog.get_logger(__name__)

COMMIT_TIMEOUT_S = 1.2
"""Without a commit for this long the answer is 503: DingTalk's deadline is 1500 ms."""

_MAX_QUEUED, _MAX_QUEUED_BYTES = 20_000, 64 * 1024 * 1024
_MAX_GROUP = 1_000
_RETENTION_EVERY_S, _RETENTION_PAUSE_S = 10.0, 0.02
_REOPEN_EVERY_S = 0.5
_PUT_ASIDE_EVERY_S = 60.0
"""A disk that damages each journal within moments must not fill with them: until then it is 503."""
_RELAY_STOPS_WITHIN_S = 15.0


class Health(enum.Enum):
    """What is known of the current journal."""

    SOUND = "sound"
    SUSPECT = "suspect"  # opened again after an I/O error; it is damaged if another one comes
    DAMAGED = "damaged"  # to be put aside


class Relay(Protocol):
    """What publishes the current journal; on the event loop it is told to let go of it for a renaming."""

    async def stop_relay(self) -> None: ...

    async def start_relay(self) -> None: ...


@dataclass(slots=True)
class WriteRequest:
    """One callback to keep, or else some other work on the journal, and who waits for it."""

    callback: NewCallback | None
    work: Callable[[JournalFile], Any] | None
    future: "asyncio.Future[Any]"
    since: float  # monotonic, s

    @property
    def size(self) -> int:
        return len(self.callback.body) if self.callback is not None else 0


class Journal:
    """The one writer below a ``JOURNAL_DIR``. Make it, ``start`` it, then ``append`` from the event loop."""

    def __init__(
        self,
        root: Path,
        retention: Retention,
        metrics: JournalMetrics,
        on_commit: Callable[[], None] = lambda: None,
        relay: Relay | None = None,
    ) -> None:
        """``on_commit`` is called on the event loop after each group that kept something new."""
        self._root, self._retention, self._metrics, self._on_commit = root, retention, metrics, on_commit
        self._relay, self._relay_stopped = relay, False
        self._queue: queue.SimpleQueue[list[WriteRequest] | None] = queue.SimpleQueue()
        self._gathered: list[WriteRequest] = []
        self._pending: deque[WriteRequest] = deque()
        self._queued = self._queued_bytes = 0  # what the thread has not settled, also if it was refused since
        self._stopping = False
        self._file: JournalFile | None = None
        self._health = Health.SOUND
        self._damage = ""
        self._put_aside_at = -_PUT_ASIDE_EVERY_S
        self._reopen_at = self._retention_at = 0.0
        self._retention_job = RetentionJob(current(root), retention)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.fault: str | None = None
        """Why nothing can be kept just now, in words; ``None`` while all is well."""
        metrics.writable.set_function(lambda: float(self.fault is None))

    # -- on the event loop

    async def start(self) -> None:
        """Open or create the journal and start the writer. Raises ``JournalError``."""
        self._loop = asyncio.get_running_loop()
        self._file = await asyncio.to_thread(open_current, self._root)
        self._show_received(self._file.last_received_ms())
        self._thread.start()
        self._watchdog = self._loop.create_task(self._watch())

    def _show_received(self, at_ms: int) -> None:
        self._last_received_ms = at_ms
        self._metrics.last_callback.set(at_ms / 1000)

    async def append(self, callback: NewCallback) -> bool:
        """Keep ``callback``; returns when it is on the disk: whether it was new, else it is there already.

        Raises ``JournalUnavailable`` when it was not kept, or not in time (then it may still be kept later:
        a retry finds it known). Never returns for what is not on the disk.
        """
        if self._queued >= _MAX_QUEUED or self._queued_bytes + len(callback.body) > _MAX_QUEUED_BYTES:
            raise JournalUnavailable("queue_full", "the journal's queue is full; the disk is too slow")
        return bool(await self._submit(callback, None))

    async def commit(
        self, rows: Sequence[NewCallback | ResyncRequest], notes: Mapping[str, str | None] | None = None
    ) -> list[bool]:
        """Keep ``rows`` in this order and set ``notes`` (None removes one) in one commit, all or nothing;
        returns for each of ``rows`` whether it was new. For a page of the failed list and its ledger.

        Raises ``JournalUnavailable`` as ``append`` does: then nothing of it is known to be kept.
        """
        new: list[bool] = await self._submit(
            None, lambda file: file.commit(rows, notes or {}, int(time.time() * 1000))
        )
        if any(new):
            self._on_commit()
        return new

    async def notes(self, prefix: str) -> dict[str, str]:
        """The notes whose keys begin with ``prefix``. Raises ``JournalUnavailable``."""
        found: dict[str, str] = await self._submit(None, lambda file: file.notes(prefix))
        return found

    async def probe(self) -> None:
        """Commit something that keeps nothing. Raises ``JournalUnavailable`` if that fails."""
        await self._submit(None, lambda file: file.probe(int(time.time() * 1000)))

    async def prune(self, older_than_s: float) -> int:
        """Delete what Kafka acknowledged longer than ``older_than_s`` ago, in small steps between commits.

        Returns how many callbacks were deleted. Raises ``JournalUnavailable``, or ``JournalError`` when what
        licenses it cannot be read.
        """
        job = RetentionJob(current(self._root), replace(self._retention, callbacks_s=older_than_s))
        deleted, more = 0, True
        while more:
            rows, more = await self._submit(None, job.step)
            deleted += rows
        return deleted

    def report_damage(self, words: str) -> None:
        """Somebody who reads the current journal, as the relay, has found it damaged: it is put aside."""
        reported = self._file
        if self._stopping or reported is None:
            return

        def work(file: JournalFile) -> None:
            if file is reported:  # else it has been put aside, or opened again, since
                raise apsw.CorruptError(words)

        self._submit(None, work).add_done_callback(asyncio.Future.exception)

    def _submit(
        self, callback: NewCallback | None, work: Callable[[JournalFile], Any] | None
    ) -> "asyncio.Future[Any]":
        if self._stopping:
            raise JournalUnavailable("stopping", "the ingress is stopping")
        request = WriteRequest(callback, work, self._loop.create_future(), time.monotonic())
        self._pending.append(request)
        self._queued += 1
        self._queued_bytes += request.size
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(request)
        return request.future

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        for begin in range(0, len(gathered), _MAX_GROUP):
            self._queue.put(gathered[begin : begin + _MAX_GROUP])

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Commit what is queued, then close. Nothing is accepted any more. A disk that hangs for longer
        than ``timeout_s`` is left to itself: what it has not confirmed was not answered ``success``."""
        self._stopping = True
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, timeout_s)
        await asyncio.sleep(0)  # the last group's answers were scheduled by the thread just before it ended
        self._watchdog.cancel()

    async def _watch(self) -> None:
        """Fails what has waited for too long, whatever the writer thread is stuck in."""
        while True:
            await asyncio.sleep(0.1)
            limit = time.monotonic() - COMMIT_TIMEOUT_S
            while self._pending and (self._pending[0].future.done() or self._pending[0].since < limit):
                request = self._pending.popleft()
                if not request.future.done():
                    request.future.set_exception(
                        JournalUnavailable("too_slow", f"no commit within {COMMIT_TIMEOUT_S:g} s")
                    )

    def _settle(self, group: list[WriteRequest], outcomes: list[Any]) -> None:
        while self._pending and self._pending[0].future.done():
            self._pending.popleft()
        kept = False
        for request, outcome in zip(group, outcomes, strict=True):
            self._queued -= 1
            self._queued_bytes -= request.size
            kept = kept or (outcome is True and request.callback is not None)
            if request.future.done():
                continue
            if isinstance(outcome, Exception):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)
        if kept:
            self._on_commit()

    # -- in the writer thread

    def _run(self) -> None:
        ended = False
        while not ended:
            group: list[WriteRequest] = []
            try:
                gathered = self._queue.get(timeout=self._idle_s())
                while gathered is not None:
                    group += gathered
                    if len(group) >= _MAX_GROUP:
                        break
                    gathered = self._queue.get_nowait()
                ended = gathered is None
            except queue.Empty:
                pass
            try:  # whatever happens: without this thread nothing is ever kept again
                if group:
                    outcomes = self._commit(group)
                    self._loop.call_soon_threadsafe(self._settle, group, outcomes)
                elif self._file is None and not ended:
                    self._reopen()
                self._delete_what_is_old()
            except Exception as error:
                self._fail(error)
        self._close()

    def _idle_s(self) -> float:
        """For how long to wait for callbacks, before there is something else to do."""
        if self._file is None:
            return _REOPEN_EVERY_S
        return min(max(self._retention_at - time.monotonic(), _RETENTION_PAUSE_S), 1.0)

    def _commit(self, group: list[WriteRequest]) -> list[Any]:
        """What to answer each of them: the callbacks are one commit, each piece of work stands for itself."""
        began = time.perf_counter()
        kept = iter(self._keep([r.callback for r in group if r.callback is not None]))
        outcomes = [next(kept) if r.work is None else self._do(r.work) for r in group]
        if self._file is not None:
            self._metrics.commit_seconds.observe(time.perf_counter() - began)
            self._metrics.group_size.observe(len(group))
        return outcomes

    def _keep(self, callbacks: list[NewCallback]) -> Sequence[bool | Exception]:
        if not callbacks:
            return []
        try:
            new = self._opened().keep(callbacks)
        except Exception as error:  # whatever it is, nothing of it is known to be on the disk
            return [self._refusal(error)] * len(callbacks)
        pushed = (one.received_ms for one in callbacks if one.pushed)
        if (newest := max(pushed, default=0)) > self._last_received_ms:
            self._show_received(newest)
        return new

    def _do(self, work: Callable[[JournalFile], Any]) -> Any:
        """What the work says. Only an error of SQLite's is the disk's; others are for whoever asked."""
        try:
            return work(self._opened())
        except (apsw.Error, JournalUnavailable) as error:
            return self._refusal(error)
        except Exception as error:
            return error

    def _opened(self) -> JournalFile:
        if self._file is None:
            self._reopen()
        if self._file is None:
            raise JournalUnavailable("disk", self.fault or "the journal is closed")
        return self._file

    def _refusal(self, error: Exception) -> JournalUnavailable:
        if isinstance(error, JournalUnavailable):
            return error
        self._fail(error)
        return JournalUnavailable("disk", self.fault or "the journal failed")

    def _fail(self, error: Exception) -> None:
        """Close everything: after a failed fsync the page cache can lie, on every open handle."""
        self.fault = refused_by_disk(self._root, error)
        log.error(
            "journal.failed", error=type(error).__name__, extended=getattr(error, "extendedresult", None)
        )
        self._metrics.failures.labels(type(error).__name__).inc()
        if isinstance(error, DAMAGE) or (isinstance(error, apsw.IOError) and self._health is Health.SUSPECT):
            self._health, self._damage = Health.DAMAGED, f"{type(error).__name__}: {error}"
        elif isinstance(error, apsw.IOError) and self._health is Health.SOUND:
            self._health = Health.SUSPECT
        self._reopen_at = time.monotonic() + _REOPEN_EVERY_S
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except Exception as error:  # it is given up, whatever its disk says to that
            log.warning("journal.close_failed", error=type(error).__name__)

    def _reopen(self) -> None:
        """Give ``success`` again only after the WAL was written back and a commit succeeded, in the journal
        that failed, or else in a new one."""
        if time.monotonic() < self._reopen_at:
            return
        self._reopen_at = time.monotonic() + _REOPEN_EVERY_S
        try:
            if self._health is not Health.DAMAGED:
                try:
                    self._file = reopen(self._root)
                except Damaged as error:
                    self._health, self._damage = Health.DAMAGED, str(error)
            if self._health is Health.DAMAGED:
                self._file = self._put_aside()
        except (apsw.Error, JournalError, OSError) as error:
            self.fault = refused_by_disk(self._root, error)
            return
        if self._file is not None:
            log.warning("journal.reopened", health=self._health.value)
            self.fault = None
            self._retention_at = 0.0  # it touches what a commit does not: only then the file counts as sound

    def _put_aside(self) -> JournalFile | None:
        if time.monotonic() < self._put_aside_at + _PUT_ASIDE_EVERY_S:
            self.fault = (
                f"the journal is damaged again ({self._damage}), within {_PUT_ASIDE_EVERY_S:g} s; "
                f"replace the disk under {self._root}"
            )
            return None
        try:
            file = put_aside(self._root, self._damage, self._stop_relay)
        finally:  # also where it failed: what is there is published as far as it reads
            self._start_relay()
        self._put_aside_at, self._health = time.monotonic(), Health.SOUND
        return file

    def _stop_relay(self) -> None:
        if self._relay is not None:
            self._relay_stopped = True
            self._wait_for(self._relay.stop_relay())

    def _start_relay(self) -> None:
        if self._relay is not None and self._relay_stopped:
            self._wait_for(self._relay.start_relay())
            self._relay_stopped = False

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_RELAY_STOPS_WITHIN_S)

    def _delete_what_is_old(self) -> None:
        """In small steps: callbacks that are published and old enough, and dedupe keys past their window."""
        if self._file is None or time.monotonic() < self._retention_at:
            return
        more = False
        try:
            _, more = self._retention_job.step(self._file)
        except apsw.Error as error:
            self._fail(error)
        except Exception as error:
            log.warning("journal.retention_failed", error=type(error).__name__, words=str(error))
        else:
            if not more and self._health is Health.SUSPECT:
                self._health = Health.SOUND
        self._retention_at = time.monotonic() + (_RETENTION_PAUSE_S if more else _RETENTION_EVERY_S)
