"""Journals in the folder that nobody writes any more: of workers that are no longer started, or of the time
before there were several. Each is drained by a publisher of its own; what stood in it has the retention of
any other journal, and at its end the files go.
"""

import asyncio
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import apsw
import structlog

from ingress.errors import JournalError, JournalLocked
from ingress.journal.directory import CURSOR_FILE, FolderLock, journal_files, journal_folders
from ingress.journal.retention import Pruning, Retention, discard
from ingress.journal.store import JournalFile
from ingress.metrics import PublishingMetrics
from ingress.relay.process import PublisherProcess
from ingress.status import FolderStatus, folder_status

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0
"""How often it looks for folders that it does not have yet: workers of a supervisor that was killed use
theirs for some seconds more, and may keep callbacks until then."""
UNREADABLE_AGAIN_S: Final = 60.0
TEND_EVERY_S: Final = 60.0
_PRUNE_STEPS = 20
_DRAINED_STOP_S = 10.0

_FAILS = (apsw.Error, JournalError, OSError, UnicodeDecodeError)


@dataclass(slots=True)
class _Held:
    """A folder that is ours, by a lock of its own but for the root, whose lock the ingress has."""

    path: Path
    lock: FolderLock | None
    publisher: PublisherProcess | None = None
    tend_at: float = 0.0

    def release(self) -> None:
        if self.lock is not None:
            self.lock.release()


class Leftovers:
    """Drains and prunes every journal folder below ``root`` but those in ``active``; its publishers count in
    ``metrics``."""

    def __init__(
        self,
        root: Path,
        active: Iterable[Path],
        environment: Mapping[str, str],
        retention: Retention,
        metrics: PublishingMetrics,
    ) -> None:
        self._root, self._active = root, frozenset(active)
        self._environment, self._retention, self._metrics = environment, retention, metrics
        self._held: dict[Path, _Held] = {}
        self._told: dict[Path, type[Exception]] = {}
        self._again_at: dict[Path, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._pruning = asyncio.Lock()  # a journal has one writer at a time

    @property
    def folders(self) -> list[Path]:
        """Those that are ours."""
        return list(self._held)

    @property
    def publishers(self) -> dict[Path, PublisherProcess]:
        """Those that run, by their folders."""
        return {held.path: held.publisher for held in self._held.values() if held.publisher is not None}

    def start(self) -> None:
        """Take what there is, and look for more until ``stop``."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        publishers = self.publishers.values()
        await asyncio.gather(*(publisher.stop(timeout_s) for publisher in publishers))
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout_s)
            self._task.cancel()
        for held in self._held.values():
            held.release()

    async def prune(self, older_than_s: float) -> int:
        """Delete what Kafka acknowledged longer than ``older_than_s`` ago; how many callbacks that were.
        Raises ``JournalError``."""
        deleted = 0
        for folder in self.folders:
            try:
                deleted += await self._prune(folder, replace(self._retention, callbacks_s=older_than_s))
            except (apsw.Error, OSError) as error:
                raise JournalError(f"{folder.name} cannot be pruned ({type(error).__name__})") from error
        return deleted

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                for folder in await asyncio.to_thread(journal_folders, self._root):
                    if folder not in self._active and folder not in self._held:
                        await self._try(folder)
                for held in list(self._held.values()):
                    if held.tend_at <= time.monotonic():
                        await self._tend(held)
            except Exception as error:  # a fault of ours here must not end the watch for good
                log.error("journal.leftover_fault", error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._stopping.wait()

    async def _try(self, folder: Path) -> None:
        if self._again_at.get(folder, 0.0) > time.monotonic():
            return
        try:
            await self._take(folder)
        except JournalLocked as error:
            if self._is_news(folder, error):
                log.warning("journal.leftover_in_use", folder=folder.name, words=str(error))
        except _FAILS as error:
            self._again_at[folder] = time.monotonic() + UNREADABLE_AGAIN_S
            if self._is_news(folder, error):
                log.error("journal.leftover_unreadable", folder=folder.name, error=type(error).__name__)

    def _is_news(self, folder: Path, error: Exception) -> bool:
        kind, before = type(error), self._told.get(folder)
        self._told[folder] = kind
        return kind is not before

    async def _take(self, folder: Path) -> None:
        held = _Held(folder, FolderLock(folder) if folder != self._root else None)
        if held.lock is not None:
            held.lock.acquire()
        try:
            status = await asyncio.to_thread(folder_status, folder)
        except BaseException:
            held.release()
            raise
        self._held[folder] = held
        log.info("journal.leftover", folder=folder.name, waiting=status.waiting)
        self._drain(held, status)

    def _drain(self, held: _Held, status: FolderStatus) -> bool:
        """Have a publisher if there is something to do for one. Whether there is."""
        if not (status.waiting or status.parked or status.unreadable):
            return False
        if held.publisher is None and not self._stopping.is_set():
            environment = {**self._environment, "JOURNAL_DIR": str(held.path)}
            held.publisher = PublisherProcess(self._metrics, environment)
            held.publisher.start()
        return True

    async def _tend(self, held: _Held) -> None:
        held.tend_at = time.monotonic() + TEND_EVERY_S
        try:
            status = await asyncio.to_thread(folder_status, held.path)
            if self._drain(held, status):
                await self._prune(held.path, self._retention)
                return
            if held.publisher is not None:
                publisher, held.publisher = held.publisher, None
                await publisher.stop(_DRAINED_STOP_S)
            await self._prune(held.path, self._retention)
            if await asyncio.to_thread(_is_over, held.path, self._retention):
                del self._held[held.path]
                try:
                    await asyncio.to_thread(_remove, held.path)
                finally:
                    held.release()
                log.info("journal.leftover_removed", folder=held.path.name)
        except _FAILS as error:
            kind, words = type(error).__name__, str(error)
            log.warning("journal.prune_failed", folder=held.path.name, error=kind, words=words)

    async def _prune(self, folder: Path, retention: Retention) -> int:
        pruning, deleted, more = Pruning(folder, retention), 0, True
        async with self._pruning:
            while more and not self._stopping.is_set():
                rows, more = await asyncio.to_thread(_prune_some, folder, pruning)
                deleted += rows
        return deleted


def _prune_some(folder: Path, pruning: Pruning) -> tuple[int, bool]:
    """Some steps of pruning. Returns how many callbacks they deleted, and whether there is more to do."""
    files, deleted, more = journal_files(folder), 0, True
    if not files or not (folder / CURSOR_FILE).exists():
        return 0, False  # nothing is in Kafka yet, or it was about to be removed
    file = JournalFile(files[-1])
    try:
        for _ in range(_PRUNE_STEPS):
            rows, more = pruning.step(file)
            deleted += rows
            if not more:
                break
    finally:
        file.close()
    return deleted, more


def _is_over(folder: Path, retention: Retention) -> bool:
    """Whether a drained folder has nothing left that its retention keeps."""
    files = journal_files(folder)
    if len(files) > 1:
        return False  # older ones go first, by pruning
    low_disk = shutil.disk_usage(folder).free < retention.min_free_bytes
    for path in files:
        file = JournalFile(path, read_only=True)
        try:
            # either way: a clock that was set back must not keep it for ever
            known_for_s = abs(time.time() - file.last_received_ms() / 1000)
            if file.lowest_seq() is not None or not (low_disk or known_for_s >= retention.seen_s):
                return False
        finally:
            file.close()
    return True


def _remove(folder: Path) -> None:
    """The cursor first: a cursor without its journal would be refused, if the folder is used again."""
    for suffix in ("", "-wal", "-shm"):
        (folder / (CURSOR_FILE + suffix)).unlink(missing_ok=True)
    for path in journal_files(folder):
        discard(path)
