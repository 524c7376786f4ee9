"""Read-only access to a folder's journal files for the publisher: the oldest that is not drained, first."""

import time
from pathlib import Path

import apsw
import structlog

from ingress.cursor import CursorFile
from ingress.errors import JournalError
from ingress.folder import journal_files
from ingress.journal_file import JournalFile, Row

log = structlog.get_logger(__name__)

_UNREADABLE_AGAIN_S = 60.0


class JournalReader:
    """Hands out the file to read now. Holds no statement open, so that the WAL can be checkpointed."""

    def __init__(self, folder: Path, cursor: CursorFile) -> None:
        self._folder, self._cursor = folder, cursor
        self._file: JournalFile | None = None
        self._unreadable: dict[Path, float] = {}

    @property
    def journal(self) -> str | None:
        """The id of the current file."""
        return self._file.id if self._file is not None else None

    def current(self) -> JournalFile | None:
        """The current file, chosen when there is none."""
        if self._file is None:
            self._file = self._choose()
        return self._file

    def _choose(self) -> JournalFile | None:
        files = journal_files(self._folder)
        for path in files:
            if self._unreadable.get(path, 0) > time.monotonic():
                continue
            try:
                file = JournalFile(path, read_only=True)
                drained = file.highest_seq() <= self._cursor.seq(file.id)
            except (apsw.Error, JournalError) as error:
                # an old file that cannot be read must not keep newer callbacks waiting
                log.error("publisher.journal_unreadable", file=path.name, error=type(error).__name__)
                self._unreadable[path] = time.monotonic() + _UNREADABLE_AGAIN_S
                continue
            if path == files[-1] or not drained:
                return file
            self._cursor.retire(file.id)
            file.close()
        return None

    def finish(self, read_seq: int) -> bool:
        """Leave the current file if it is read to its end and a newer one exists. Whether it did."""
        if self._file is None:
            return False
        files = journal_files(self._folder)
        if not files or self._file.path == files[-1] or self._file.highest_seq() > read_seq:
            return False
        log.info("publisher.drained", file=self._file.path.name)
        self._cursor.retire(self._file.id)
        self.close()
        return True

    def row(self, journal: str, seq: int) -> Row | None:
        """One callback of any file in the folder, for what was parked."""
        if self._file is not None and self._file.id == journal:
            return self._file.row(seq)
        for path in journal_files(self._folder):
            try:
                file = JournalFile(path, read_only=True)
            except (apsw.Error, JournalError):
                continue
            try:
                if file.id == journal:
                    return file.row(seq)
            finally:
                file.close()
        return None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
