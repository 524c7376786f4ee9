"""Journals in the folder that nobody writes any more: of workers that are no longer started, or of the time
before there were several. Each is drained by a publisher of its own until it holds nothing unpublished.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import apsw
import structlog

from ingress.errors import JournalError, JournalLocked
from ingress.folder import FolderLock, journal_folders
from ingress.metrics import PublishingMetrics
from ingress.publisher_process import PublisherProcess
from ingress.status import folder_status

log = structlog.get_logger(__name__)


class Leftovers:
    """Drains every journal folder below ``root`` but those in ``active``, and counts in ``metrics``.

    ``publishers`` are those that run, by their folders.
    """

    def __init__(
        self, root: Path, active: Iterable[Path], environment: Mapping[str, str], metrics: PublishingMetrics
    ) -> None:
        self._environment, self._metrics = environment, metrics
        self._locks: list[FolderLock] = []
        self.publishers: dict[Path, PublisherProcess] = {}
        used = set(active)
        self.folders = [folder for folder in journal_folders(root) if folder not in used and _holds(folder)]
        self._root = root

    def start(self) -> None:
        """Start a publisher for each."""
        for folder in self.folders:
            lock = FolderLock(folder) if folder != self._root else None  # the root's is held already
            try:
                if lock is not None:
                    lock.acquire()
            except JournalLocked as error:
                log.warning("journal.leftover_in_use", folder=folder.name, words=str(error))
                continue
            log.info("journal.leftover", folder=folder.name, waiting=folder_status(folder).waiting)
            publisher = PublisherProcess(self._metrics, {**self._environment, "JOURNAL_DIR": str(folder)})
            publisher.start()
            self.publishers[folder] = publisher
            if lock is not None:
                self._locks.append(lock)

    async def stop(self, timeout_s: float) -> None:
        for publisher in self.publishers.values():
            await publisher.stop(timeout_s)
        for lock in self._locks:
            lock.release()


def _holds(folder: Path) -> bool:
    """Whether something there is not yet in Kafka. One that cannot be read must not stop the ingress."""
    try:
        status = folder_status(folder)
    except (apsw.Error, JournalError, OSError) as error:
        log.error("journal.leftover_unreadable", folder=folder.name, error=type(error).__name__)
        return False
    return bool(status.waiting or status.parked)
