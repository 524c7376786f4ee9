"""Journals in the folder that nobody writes any more: of workers that are no longer started, or of the time
before there were several. Each is drained by a publisher of its own.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import apsw
import structlog

from ingress.errors import JournalError, JournalLocked
from ingress.folder import FolderLock, journal_folders
from ingress.metrics import PublishingMetrics
from ingress.publisher_process import PublisherProcess
from ingress.status import FolderStatus, folder_status

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0
"""How often it looks for folders that it does not have yet: workers of a supervisor that was killed use
theirs for some seconds more, and may keep callbacks until then."""
UNREADABLE_AGAIN_S: Final = 60.0


class Leftovers:
    """Drains every journal folder below ``root`` but those in ``active``, and counts in ``metrics``.

    ``publishers`` are those that run, by their folders.
    """

    def __init__(
        self, root: Path, active: Iterable[Path], environment: Mapping[str, str], metrics: PublishingMetrics
    ) -> None:
        self._root, self._active = root, frozenset(active)
        self._environment, self._metrics = environment, metrics
        self._held: dict[Path, FolderLock | None] = {}
        self._told: dict[Path, type[Exception]] = {}
        self._again_at: dict[Path, float] = {}
        self._task: asyncio.Task[None] | None = None
        self.publishers: dict[Path, PublisherProcess] = {}

    @property
    def folders(self) -> list[Path]:
        """Those that are ours."""
        return list(self._held)

    def start(self) -> None:
        """Take what there is, and look for more until ``stop``."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self, timeout_s: float) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.gather(*(publisher.stop(timeout_s) for publisher in self.publishers.values()))
        for lock in self._held.values():
            if lock is not None:
                lock.release()

    async def _watch(self) -> None:
        while True:
            try:
                for folder in await asyncio.to_thread(journal_folders, self._root):
                    if folder not in self._active and folder not in self._held:
                        await self._try(folder)
            except Exception as error:  # a fault of ours here must not end the watch for good
                log.error("journal.leftover_fault", error=type(error).__name__)
            await asyncio.sleep(EVERY_S)

    async def _try(self, folder: Path) -> None:
        if self._again_at.get(folder, 0.0) > time.monotonic():
            return
        try:
            await self._take(folder)
        except JournalLocked as error:
            if self._is_news(folder, error):
                log.warning("journal.leftover_in_use", folder=folder.name, words=str(error))
        except (apsw.Error, JournalError, OSError, UnicodeDecodeError) as error:
            self._again_at[folder] = time.monotonic() + UNREADABLE_AGAIN_S
            if self._is_news(folder, error):
                log.error("journal.leftover_unreadable", folder=folder.name, error=type(error).__name__)

    def _is_news(self, folder: Path, error: Exception) -> bool:
        kind, before = type(error), self._told.get(folder)
        self._told[folder] = kind
        return kind is not before

    async def _take(self, folder: Path) -> None:
        lock = FolderLock(folder) if folder != self._root else None  # the root's is held already
        if lock is not None:
            lock.acquire()
        try:
            status = await asyncio.to_thread(folder_status, folder)  # now that nothing is added any more
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        self._held[folder] = lock
        if _holds(status):
            log.info("journal.leftover", folder=folder.name, waiting=status.waiting)
            publisher = PublisherProcess(self._metrics, {**self._environment, "JOURNAL_DIR": str(folder)})
            publisher.start()
            self.publishers[folder] = publisher


def _holds(status: FolderStatus) -> bool:
    """Whether something there is not yet in Kafka."""
    return bool(status.waiting or status.parked or status.unreadable)
