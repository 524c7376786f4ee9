"""What stands in a journal folder, read without its lock: for readiness, metrics, `dingbridge journal`."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from ingress.errors import JournalError
from ingress.journal.checkpoint import CursorFile
from ingress.journal.directory import CURSOR_FILE, journal_files, journal_folders
from ingress.journal.store import JournalFile


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """``waiting`` callbacks are kept and not yet in Kafka, the oldest since ``oldest_age_s``; sizes in bytes.
    ``parked`` is ``{(topic, reason): records}``; what waits in ``unreadable`` files is not counted."""

    waiting: int
    oldest_age_s: float
    bytes: int
    free_bytes: int
    parked: dict[tuple[str, str], int]
    files: dict[str, str]  # file name to journal id
    unreadable: tuple[str, ...] = ()  # names of older files that are damaged

    def as_json(self) -> dict[str, Any]:
        """What ``/readyz`` tells of it."""
        return {
            "waiting": self.waiting,
            "oldest_age_s": round(self.oldest_age_s, 1),
            "bytes": self.bytes,
            "free_bytes": self.free_bytes,
            **({"unreadable": self.unreadable} if self.unreadable else {}),
        }


def folder_status(folder: Path) -> FolderStatus:
    """Raises ``apsw.Error`` or ``JournalError`` when the cursor or the newest file cannot be read."""
    waiting, oldest, files = 0, None, {}
    unreadable = []
    paths = journal_files(folder)
    cursor = CursorFile(folder, read_only=True) if (folder / CURSOR_FILE).exists() else None
    try:
        for path in paths:
            try:
                file = JournalFile(path, read_only=True)
                try:
                    count, since_ms = file.waiting(cursor.seq(file.id) if cursor else 0)
                finally:
                    file.close()
            except (apsw.Error, JournalError):
                if path == paths[-1]:
                    raise
                unreadable.append(path.name)
                continue
            files[path.name] = file.id
            waiting += count
            if since_ms is not None and (oldest is None or since_ms < oldest):
                oldest = since_ms
        parked = cursor.parked_counts() if cursor else {}
    finally:
        if cursor is not None:
            cursor.close()
    return FolderStatus(
        waiting=waiting,
        oldest_age_s=max(0.0, time.time() - oldest / 1000) if oldest is not None else 0.0,
        bytes=sum(p.stat().st_size for p in folder.iterdir() if p.is_file()),
        free_bytes=shutil.disk_usage(folder).free,
        parked=parked,
        files=files,
        unreadable=tuple(unreadable),
    )


def total_status(root: Path) -> FolderStatus:
    """The same of ``root`` and of all its workers' folders together. Raises as ``folder_status``."""
    return joint_status(root, journal_folders(root))


def joint_status(root: Path, folders: Iterable[Path]) -> FolderStatus:
    """The same of several ``folders`` below ``root`` together. Raises as ``folder_status``."""
    parts = {folder: folder_status(folder) for folder in folders}
    parked: dict[tuple[str, str], int] = {}
    for part in parts.values():
        for key, count in part.parked.items():
            parked[key] = parked.get(key, 0) + count
    return FolderStatus(
        waiting=sum(part.waiting for part in parts.values()),
        oldest_age_s=max((part.oldest_age_s for part in parts.values()), default=0.0),
        bytes=sum(part.bytes for part in parts.values()),
        free_bytes=shutil.disk_usage(root).free,
        parked=parked,
        files={
            str((folder / name).relative_to(root)): journal
            for folder, part in parts.items()
            for name, journal in part.files.items()
        },
        unreadable=tuple(
            str((folder / name).relative_to(root))
            for folder, part in parts.items()
            for name in part.unreadable
        ),
    )
