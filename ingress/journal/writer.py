"""The journal's writer: keeps callbacks durably, many with one fsync, before ``success`` is answered.

The event loop gathers the callbacks of one turn and hands them over a queue to one thread, which commits all
that has queued up as one group. So a stalled disk never stalls the loop, and a callback waits for two fsyncs
at most: that of the group before, and its own. What Kafka has acknowledged rides in the same group. What is
old is deleted between groups. A disk that takes no write is waited for; a journal that is damaged ends the
process (``until_damaged``), and the next start deals with it.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import structlog

from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalUnavailable
from dingbridge.ingress.journal.disk import in_words, is_damage
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import open_current
from dingbridge.ingress.journal.retention import Retention, prune_step
from dingbridge.ingress.journal.rows import Acknowledgement, NewCallback, ResyncRequest
from dingbridge.ingress.metrics import JournalMetrics

log = structlog.get_logger(__name__)

COMMIT_TIMEOUT_S = 1.2
"""Without a commit for this long the answer is 503: DingTalk's deadline is 1500 ms."""

_MAX_QUEUED_BYTES = 64 * 1024 * 1024
_REQUEST_BYTES = 2_048
"""Of memory that a request takes beside its body."""
_MAX_GROUP = 1_000
_RETENTION_EVERY_S, _RETENTION_PAUSE_S = 10.0, 0.02
_REOPEN_EVERY_S = 0.5

Work = Callable[[JournalFile], Any]


@dataclass(slots=True)
class WriteRequest:
    """A callback to keep, an acknowledgement of Kafka, or other work on the journal; ``future`` is what it
    returns."""

    what: NewCallback | Acknowledgement | Work
    future: "asyncio.Future[Any]"

    @property
    def size(self) -> int:
        return _REQUEST_BYTES + (len(self.what.body) if isinstance(self.what, NewCallback) else 0)


class Journal:
    """The one writer below a ``JOURNAL_DIR``. Make it, ``start`` it, then ``append`` from the event loop."""

    def __init__(self, root: Path, retention: Retention, metrics: JournalMetrics) -> None:
        self.root, self._retention, self._metrics = root, retention, metrics
        self.on_commit: Callable[[], None] = lambda: None
        """Called on the event loop after each group that kept something new."""
        self._queue: queue.SimpleQueue[list[WriteRequest] | None] = queue.SimpleQueue()
        self._gathered: list[WriteRequest] = []  # in this turn of the event loop, not yet in the queue
        self._queued_bytes = 0  # not committed yet, also those that were refused as too slow
        self._stopping = False
        self._file: JournalFile | None = None
        self.id = ""
        """The journal's id; empty until it was opened for the first time."""
        self._open_at = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.fault: str | None = None
        """Why nothing can be kept just now; ``None`` while all is well."""
        self._ended: JournalError | None = None
        """Why nothing will ever be kept by this process again."""
        metrics.writable.set_function(lambda: float(self.fault is None))

    # -- on the event loop

    async def start(self) -> None:
        """Open or create the journal and start the writer, also on a disk that takes no write yet. Raises
        ``JournalError``."""
        self._loop = asyncio.get_running_loop()
        self._has_ended = asyncio.Event()
        await asyncio.to_thread(self._open)
        if self._ended is not None:
            raise self._ended
        self._thread.start()

    async def append(self, callback: NewCallback) -> bool:
        """Keep ``callback``, and return only when it is on the disk: whether it was new, or known already.

        Raises ``JournalUnavailable`` when it was not kept, or not in time. In that case it may still be kept
        later, and DingTalk's retry is then known.
        """
        if self._queued_bytes + len(callback.body) > _MAX_QUEUED_BYTES:
            raise JournalUnavailable("queue_full", "the journal's queue is full; the disk is too slow")
        return bool(await self._in_time(callback))

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Note what Kafka has answered, in the next group. Raises ``JournalUnavailable``."""
        await self._submit(acknowledgement)

    async def commit(
        self, rows: Sequence[NewCallback | ResyncRequest], notes: Mapping[str, str | None] | None = None
    ) -> list[bool]:
        """Keep ``rows`` in this order and set ``notes`` (None removes one), all in one commit or nothing;
        returns for each of ``rows`` whether it was new. For a page of DingTalk's failed list or of a folder
        that is drained, with a note of how far that has come.

        Raises ``JournalUnavailable`` as ``append`` does: all of it may still be kept later, or nothing.
        """
        callbacks = [row.callback() if isinstance(row, ResyncRequest) else row for row in rows]
        new: list[bool] = await self._submit(lambda file: file.commit(callbacks, notes))
        if any(new):
            self.on_commit()
        return new

    async def notes(self, prefix: str) -> dict[str, str]:
        """The notes whose keys begin with ``prefix``. Raises ``JournalUnavailable``."""
        found: dict[str, str] = await self._submit(lambda file: file.notes(prefix))
        return found

    async def probe(self) -> None:
        """Commit without a callback, to see that the disk takes it. Raises ``JournalUnavailable`` if not."""
        await self._in_time(JournalFile.probe)

    async def until_damaged(self) -> None:
        """Raises ``JournalError`` when nothing can be kept any more before the process is started again."""
        await self._has_ended.wait()
        raise self._ended or JournalError("the journal has ended")

    async def prune_regularly(self) -> None:
        """Delete what is old by the settings, in small steps between commits. Ends only when it is
        cancelled."""
        after_seq: int | None = 0
        while True:
            step = partial(prune_step, root=self.root, retention=self._retention, after_seq=after_seq or 0)
            try:
                after_seq = await self._submit(step)
                wait_s = _RETENTION_EVERY_S if after_seq is None else _RETENTION_PAUSE_S
            except JournalUnavailable:  # logged already; a full or slow disk needs pruning most
                wait_s = _REOPEN_EVERY_S
            except OSError as error:  # a folder that cannot be measured: callbacks are kept all the same
                log.warning("journal.retention_failed", error=type(error).__name__, words=str(error))
                wait_s = _RETENTION_EVERY_S
            await asyncio.sleep(wait_s)

    async def _in_time(self, what: NewCallback | Work) -> Any:
        """Within ``COMMIT_TIMEOUT_S``, whatever the writer thread is stuck in: somebody waits for an
        answer."""
        future = self._submit(what)
        timer = self._loop.call_later(COMMIT_TIMEOUT_S, _refuse, future)
        try:
            return await future
        finally:
            timer.cancel()

    def _submit(self, what: NewCallback | Acknowledgement | Work) -> "asyncio.Future[Any]":
        if self._stopping:
            raise JournalUnavailable("stopping", "the ingress is stopping")
        request = WriteRequest(what, self._loop.create_future())
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
        """Accept nothing more, commit what is queued, close. A disk that hangs for longer than ``timeout_s``
        is not waited for: what it has not confirmed was not answered ``success``."""
        self._stopping = True
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, timeout_s)
        await asyncio.sleep(0)  # the last group's answers were scheduled by the thread just before it ended

    def _settle(self, group: list[WriteRequest], outcomes: list[Any]) -> None:
        kept = False
        for request, outcome in zip(group, outcomes, strict=True):
            self._queued_bytes -= request.size
            kept = kept or (outcome is True and isinstance(request.what, NewCallback))
            if request.future.done():
                continue
            if isinstance(outcome, Exception):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)
        if kept:
            self.on_commit()

    # -- in the writer thread

    def _run(self) -> None:
        while self._write():
            pass
        self._close()

    def _write(self) -> bool:
        """Commit what has queued up, or reopen a journal that failed. ``False`` after ``stop``."""
        group: list[WriteRequest] = []
        gathered: list[WriteRequest] | None = []
        try:
            gathered = self._queue.get(timeout=None if self._file is not None else _REOPEN_EVERY_S)
            while gathered is not None:
                group += gathered
                if len(group) >= _MAX_GROUP:
                    break
                gathered = self._queue.get_nowait()
        except queue.Empty:
            pass
        try:
            outcomes = self._outcomes(group)
            if self._file is None and gathered is not None:
                self._open()
        except BaseException as error:  # a fault of ours: nothing more is kept, and everything is answered
            log.exception("journal.writer_failed")
            self._end(JournalError(f"the journal's writer failed ({type(error).__name__})"))
            self._close()
            outcomes = [JournalUnavailable("disk", str(self._ended))] * len(group)
        if group:
            self._loop.call_soon_threadsafe(self._settle, group, outcomes)
        return gathered is not None

    def _outcomes(self, group: list[WriteRequest]) -> list[Any]:
        """The result or error of each request: callbacks and acknowledgements are one commit, other work is
        run alone, behind it."""
        callbacks = [one.what for one in group if isinstance(one.what, NewCallback)]
        acknowledged = [one.what for one in group if isinstance(one.what, Acknowledgement)]
        kept: Any = []
        if callbacks or acknowledged:
            kept = self._do(lambda file: self._commit(file, callbacks, acknowledged))
        failed, each = isinstance(kept, Exception), iter(() if isinstance(kept, Exception) else kept)
        outcomes = []
        for one in group:
            if isinstance(one.what, NewCallback):
                outcomes.append(kept if failed else next(each))
            elif isinstance(one.what, Acknowledgement):
                outcomes.append(kept if failed else None)
            else:
                outcomes.append(self._do(one.what))
        return outcomes

    def _commit(
        self, file: JournalFile, callbacks: list[NewCallback], acknowledged: list[Acknowledgement]
    ) -> list[bool]:
        began = time.perf_counter()
        new = file.commit(callbacks, None, acknowledged)
        if callbacks:
            self._metrics.commit_seconds.observe(time.perf_counter() - began)
            self._metrics.group_size.observe(len(callbacks))
            self._metrics.last_callback.set(callbacks[-1].received_ms / 1000)
        return new

    def _do(self, work: Work) -> Any:
        """The result of ``work``, or its error; never raises. An error of SQLite closes the journal; any
        other concerns only the caller."""
        try:
            return work(self._opened())
        except apsw.Error as error:
            self._fail(error)
            return JournalUnavailable("disk", self.fault or "the journal failed")
        except Exception as error:
            return error

    def _opened(self) -> JournalFile:
        if self._file is None:
            self._open()
        if self._file is None or self._ended:
            raise JournalUnavailable("disk", self.fault or "the journal is closed")
        return self._file

    def _fail(self, error: Exception) -> None:
        """Close the file: after a failed fsync the page cache can lie, on every open handle."""
        log.error(
            "journal.failed", error=type(error).__name__, extended=getattr(error, "extendedresult", None)
        )
        self._metrics.failures.labels(type(error).__name__).inc()
        self._close()
        self._judge(error)

    def _judge(self, error: Exception) -> None:
        """Decide whether ``error`` is damage, which ends the process, or may pass, so that the file is opened
        again."""
        self._open_at = time.monotonic() + _REOPEN_EVERY_S
        if is_damage(error):
            self._end(JournalDamaged(f"{type(error).__name__}: {error}"))
        else:
            self.fault = in_words(self.root, error)

    def _end(self, error: JournalError) -> None:
        """Refuse everything from now on; ``until_damaged`` ends the process."""
        if self._ended is None:
            self._ended, self.fault = error, str(error)
            log.error("journal.ended", words=str(error))
            self._loop.call_soon_threadsafe(self._has_ended.set)

    def _close(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except Exception as error:  # it is not used again in any case
            log.warning("journal.close_failed", error=type(error).__name__)

    def _open(self) -> None:
        """Open the file for the first time, or after it has failed."""
        if self._ended or time.monotonic() < self._open_at:
            return
        try:
            self._file = open_current(self.root, failed=self.id != "")
        except JournalError as error:  # of another version, say
            self._end(error)
        except (apsw.Error, OSError) as error:
            self._judge(error)
        else:
            self.id = self.id or self._file.id
            self._metrics.last_callback.set(self._file.last_received_ms() / 1000)
            if self.fault is not None:
                log.warning("journal.reopened")
            self.fault = None


def _refuse(future: "asyncio.Future[Any]") -> None:
    """The disk is too slow: the answer is 503, and what ``future`` stands for may still be kept."""
    if not future.done():
        words = f"no commit within {COMMIT_TIMEOUT_S:g} s"
        future.set_exception(JournalUnavailable("too_slow", words))
