"""The journal: keeps callbacks durably, many with one fsync, before anyone is told ``success``.

The event loop gathers what one turn of it brings and hands that over a queue to one writer thread, which
commits whatever has queued up as one group. So a stalled disk never stalls the loop, an answer waits for one
fsync at most twice, and thread and loop meet once for a group. The thread also prunes. What a callback
*means* is decided behind the journal, by the publisher.
"""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import structlog

from ingress.errors import JournalError, JournalUnavailable
from ingress.journal.directory import missing_files, newest_journal_file
from ingress.journal.retention import Pruning, Retention
from ingress.journal.startup import begin_file, open_newest, reopen
from ingress.journal.store import JournalFile, NewCallback, ResyncRequest
from ingress.journal.words import gone
from ingress.metrics import JournalMetrics

log = structlog.get_logger(__name__)

COMMIT_TIMEOUT_S = 1.2
"""Without a commit for this long the answer is 503: DingTalk's deadline is 1500 ms."""

_MAX_QUEUED = 20_000
_MAX_QUEUED_BYTES = 64 * 1024 * 1024
_MAX_GROUP = 1_000
_PRUNE_EVERY_S = 10.0
_PRUNE_PAUSE_S = 0.02
_REOPEN_EVERY_S = 0.5

_OF_THE_FILE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.BusyError, JournalError)
"""What keeps a file from being opened again, and a new one from nothing. Busy: somebody reads it for long."""


@dataclass(slots=True)
class _Pending:
    entry: NewCallback | None
    work: Callable[[JournalFile], bool] | None  # exactly one of entry and work
    future: "asyncio.Future[bool]"
    since: float  # monotonic, s

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.entry.body) if self.entry is not None else 0


class Journal:
    """The one writer of a journal folder. Make it, ``start`` it, then ``append`` from the event loop."""

    def __init__(
        self,
        folder: Path,
        retention: Retention,
        metrics: JournalMetrics,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_commit`` is called on the event loop after each group that kept something new."""
        self._folder, self._retention, self._metrics, self._on_commit = folder, retention, metrics, on_commit
        self._queue: queue.SimpleQueue[list[_Pending] | None] = queue.SimpleQueue()
        self._gathered: list[_Pending] = []
        self._pending: deque[_Pending] = deque()
        self._queued = self._queued_bytes = 0  # what the thread has not settled, also if it was refused since
        self._stopping = False
        self._file: JournalFile | None = None
        self._damaged: Path | None = None  # left for good: it may take a probe where it takes no callback
        self._unproven: Path | None = None  # opened again, and has taken no callback since
        self._unprunable: Path | None = None  # the last try to prune it was an I/O error
        self._reopen_at = 0.0
        self._prune_at = 0.0
        self._pruning = Pruning(folder, retention)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.fault: str | None = None
        """Why nothing can be kept just now, in words; ``None`` while all is well."""
        metrics.writable.set_function(lambda: float(self.fault is None))

    # -- on the event loop

    async def start(self) -> None:
        """Open or create the newest file and start the writer. Raises ``JournalError``."""
        self._loop = asyncio.get_running_loop()
        self._file = await asyncio.to_thread(open_newest, self._folder)
        self._show_received(self._file.last_received_ms())
        self._thread.start()
        self._watchdog = self._loop.create_task(self._watch())

    def _show_received(self, at_ms: int) -> None:
        self._last_received_ms = at_ms
        self._metrics.last_callback.set(at_ms / 1000)

    async def append(self, entry: NewCallback) -> bool:
        """Keep ``entry``; returns when it is on the disk: whether it was new, else it is there already.

        Raises ``JournalUnavailable`` when it was not kept, or not in time (then it may still be kept later:
        a retry finds it known). Never returns for what is not on the disk.
        """
        if self._queued >= _MAX_QUEUED or self._queued_bytes + len(entry.body) > _MAX_QUEUED_BYTES:
            raise JournalUnavailable("queue_full", "the journal's queue is full; the disk is too slow")
        return await self._submit(entry)

    async def commit(
        self, rows: Sequence[NewCallback | ResyncRequest], notes: Mapping[str, str | None] | None = None
    ) -> list[bool]:
        """Keep ``rows`` in this order and set ``notes`` (None removes one) in one commit, all or nothing;
        returns for each of ``rows`` whether it was new. For a page of the failed list and its ledger.

        Raises ``JournalUnavailable`` as ``append`` does: then nothing of it is known to be kept.
        """
        kept: list[bool] = []

        def work(file: JournalFile) -> bool:
            kept[:] = file.commit(rows, notes or {}, int(time.time() * 1000))
            return True

        await self._submit(None, work)
        if any(kept):
            self._on_commit()
        return kept

    async def notes(self, prefix: str) -> dict[str, str]:
        """The notes whose keys begin with ``prefix``. Raises ``JournalUnavailable``."""
        found: dict[str, str] = {}

        def work(file: JournalFile) -> bool:
            found.update(file.notes(prefix))
            return True

        await self._submit(None, work)
        return found

    async def probe(self) -> None:
        """Commit something that keeps nothing. Raises ``JournalUnavailable`` if that fails."""
        await self._submit(None, _probe)

    async def prune(self, older_than_s: float) -> int:
        """Delete what Kafka acknowledged longer than ``older_than_s`` ago, in small steps between commits.

        Returns how many callbacks were deleted. Raises ``JournalUnavailable``, or ``JournalError`` when what
        licenses it cannot be read.
        """
        deleted = 0

        pruning = Pruning(self._folder, replace(self._retention, callbacks_s=older_than_s))

        def step(file: JournalFile) -> bool:
            nonlocal deleted
            rows, more = pruning.step(file)
            deleted += rows
            return more

        while await self._submit(None, step):
            continue
        return deleted

    def _submit(
        self, entry: NewCallback | None, work: Callable[[JournalFile], bool] | None = None
    ) -> "asyncio.Future[bool]":
        if self._stopping:
            raise JournalUnavailable("stopping", "the ingress is stopping")
        pending = _Pending(entry, work, self._loop.create_future(), time.monotonic())
        self._pending.append(pending)
        self._queued += 1
        self._queued_bytes += pending.size
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(pending)
        return pending.future

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
                pending = self._pending.popleft()
                if not pending.future.done():
                    pending.future.set_exception(
                        JournalUnavailable("too_slow", f"no commit within {COMMIT_TIMEOUT_S:g} s")
                    )

    def _settle(self, group: list[_Pending], outcomes: list[bool | Exception]) -> None:
        while self._pending and self._pending[0].future.done():
            self._pending.popleft()
        for pending, outcome in zip(group, outcomes, strict=True):
            self._queued -= 1
            self._queued_bytes -= pending.size
            if pending.future.done():
                continue
            if isinstance(outcome, Exception):
                pending.future.set_exception(outcome)
            else:
                pending.future.set_result(outcome)
        if any(outcome is True and pending.entry for pending, outcome in zip(group, outcomes, strict=True)):
            self._on_commit()

    # -- in the writer thread

    def _run(self) -> None:
        ended = False
        while not ended:
            group: list[_Pending] = []
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
                elif self._file is None:
                    self._reopen()
                self._tidy()
            except Exception as error:
                self._fail(error)
        self._close()

    def _idle_s(self) -> float:
        """For how long to wait for callbacks, before there is something else to do."""
        if self._file is None:
            return _REOPEN_EVERY_S
        return min(max(self._prune_at - time.monotonic(), _PRUNE_PAUSE_S), 1.0)

    def _commit(self, group: list[_Pending]) -> list[bool | Exception]:
        """What to answer each of them: the callbacks are one commit, each piece of work stands for itself."""
        began = time.perf_counter()
        kept = iter(self._keep([p.entry for p in group if p.entry is not None]))
        outcomes = [next(kept) if p.work is None else self._do(p.work) for p in group]
        if self._file is not None:
            self._metrics.commit_seconds.observe(time.perf_counter() - began)
            self._metrics.group_size.observe(len(group))
        return outcomes

    def _keep(self, entries: list[NewCallback]) -> Sequence[bool | Exception]:
        if not entries:
            return []
        try:
            new = self._opened().keep(entries)
            self._unproven = None
        except Exception as error:  # whatever it is, nothing of it is known to be on the disk
            return [self._refusal(error)] * len(entries)
        # not what was put back: that was received long ago
        pushed = (entry.received_ms for entry in entries if entry.via == "http" and not entry.unconditional)
        if (newest := max(pushed, default=0)) > self._last_received_ms:
            self._show_received(newest)
        return new

    def _do(self, work: Callable[[JournalFile], bool]) -> bool | Exception:
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
        self.fault = self._words(error)
        log.error(
            "journal.failed", error=type(error).__name__, extended=getattr(error, "extendedresult", None)
        )
        self._metrics.failures.labels(type(error).__name__).inc()
        if self._file is not None and (
            isinstance(error, apsw.CorruptError | apsw.NotADBError)
            or (isinstance(error, apsw.IOError) and self._file.path == self._unproven)
        ):
            self._damaged = self._file.path
        self._reopen_at = time.monotonic() + _REOPEN_EVERY_S
        self._close()

    def _words(self, error: Exception) -> str:
        return f"{type(error).__name__}: {error}; free or mend the disk under {self._folder}"

    def _close(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except Exception as error:  # it is given up, whatever its disk says to that
            log.warning("journal.close_failed", error=type(error).__name__)

    def _reopen(self) -> None:
        """Give ``success`` again only after the WAL was written back and a commit succeeded; if the old
        file can do neither, but a new one can, go on in a new one (the publisher drains the old)."""
        if time.monotonic() < self._reopen_at:
            return
        self._reopen_at = time.monotonic() + _REOPEN_EVERY_S
        newest, missing = newest_journal_file(self._folder), missing_files(self._folder)
        for path in (newest, None) if newest not in (None, self._damaged) else (None,):
            try:
                file = reopen(path) if path is not None else begin_file(self._folder)
            except (apsw.Error, JournalError, OSError) as error:
                self.fault = self._words(error)
                if path is not None and not isinstance(error, _OF_THE_FILE):
                    return  # a full or read-only disk would refuse a new file as well
                continue
            self._file, self.fault, self._unproven = file, None, path
            log.warning("journal.reopened", file=file.path.name, new_file=path is None)
            for path in missing:
                log.error("journal.old_file_unreadable", file=path.name, words=gone(path))
            return

    def _tidy(self) -> None:
        """Prune in small steps: what is published and old enough, and dedupe keys past their window."""
        if self._file is None or time.monotonic() < self._prune_at:
            return
        try:
            _, more = self._pruning.step(self._file)
        except Exception as error:
            log.warning("journal.prune_failed", error=type(error).__name__, words=str(error))
            more = False
            if isinstance(error, apsw.IOError):  # else it would fail at each pass, and grow without end
                if self._unprunable == self._file.path:
                    self._damaged = self._file.path
                self._unprunable = self._file.path
            if isinstance(error, apsw.Error):
                self._fail(error)
        else:
            self._unprunable = None
        self._prune_at = time.monotonic() + (_PRUNE_PAUSE_S if more else _PRUNE_EVERY_S)


def _probe(file: JournalFile) -> bool:
    file.probe(int(time.time() * 1000))
    return False
