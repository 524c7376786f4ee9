"""Read-only access to a folder's journal files for the publisher: the oldest that is not drained, first.

What is damaged in a file comes as rows that are not intact (``gaps.py``), which the publisher parks.
"""

import math
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import takewhile
from pathlib import Path

import apsw
import structlog

from ingress.errors import JournalError
from ingress.gaps import MAX_ROWS, rows_behind
from ingress.journal.checkpoint import CursorFile
from ingress.journal.directory import journal_files
from ingress.journal.store import UNREADABLE, JournalFile, StoredCallback, missing_row

log = structlog.get_logger(__name__)

_UNREADABLE_AGAIN_S = 60.0
_NEWEST_AGAIN_S = 1.0
_MAX_BYTES = 1 << 20


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
                file, highest = _opened(path)
            except (apsw.Error, JournalError) as error:
                self._set_aside(path, error, _NEWEST_AGAIN_S if path == files[-1] else _UNREADABLE_AGAIN_S)
                continue
            self._unreadable.pop(path, None)
            try:  # what fails here is the cursor, for which no journal file is to blame
                seq = self._cursor.seq(file.id)
                if path == files[-1] or highest > seq or self._waits(file, seq):
                    return file
                self._cursor.retire(file.id)
            except BaseException:
                file.close()
                raise
            file.close()
        return None

    def _set_aside(self, path: Path, error: Exception, again_s: float) -> None:
        """An old file that cannot be read must not keep newer callbacks waiting."""
        log.error("publisher.journal_unreadable", file=path.name, error=type(error).__name__)
        self._unreadable[path] = time.monotonic() + again_s

    def _waits(self, file: JournalFile, after_seq: int) -> bool:
        """Whether a callback stands behind ``after_seq`` whatever the file says of its highest number."""
        with suppress(apsw.Error, *UNREADABLE):
            rows = file.read(after_seq, max_rows=MAX_ROWS, max_bytes=_MAX_BYTES)
            return any(row.intact for row in rows)
        return False

    def read(self, file: JournalFile, after_seq: int) -> list[StoredCallback]:
        """The next callbacks of ``file`` behind ``after_seq``, without a gap; empty when there is none.

        Raises ``apsw.IOError`` for a sector that the disk does not give: then, close it, and an older file
        than the newest is not chosen again for a while."""
        try:
            return self._read(file, after_seq)
        except apsw.IOError as error:
            if file.path in journal_files(self._folder)[:-1]:
                self._set_aside(file.path, error, _UNREADABLE_AGAIN_S)
            raise

    def _read(self, file: JournalFile, after_seq: int) -> list[StoredCallback]:
        rows: list[StoredCallback] = []
        with suppress(*UNREADABLE):
            rows = file.read(after_seq, max_rows=MAX_ROWS, max_bytes=_MAX_BYTES)
            if rows and all(row.intact and row.seq == seq for seq, row in enumerate(rows, after_seq + 1)):
                return rows
        # the number of an intact row is believed, that of the file may have been damaged
        highest = max([file.highest_seq(), *(row.seq for row in rows if row.intact)])
        while after_seq < highest:
            rows, end = rows_behind(file, after_seq, highest, max_bytes=_MAX_BYTES)
            if damaged := [row.seq for row in rows if not row.intact]:
                log.error(
                    "publisher.damaged",
                    file=file.path.name,
                    callbacks=len(damaged),
                    first=damaged[0],
                    last=damaged[-1],
                )
            if rows:
                return rows
            after_seq = end
        return []

    def finish(self, read_seq: int) -> bool:
        """Leave the current file if it is read to its end and a newer one exists, or an older one is to be
        tried again. Whether it did."""
        if self._file is None:
            return False
        files = journal_files(self._folder)
        if not files or self._file.path == files[-1]:
            return self.look_again()
        highest = self._file.highest_seq()
        if self.read(self._file, read_seq):
            return False
        if highest > read_seq:
            # all behind it was pruned as published, by a cursor that is not here any more, or was newer
            self._cursor.move(self._file.id, highest)
        log.info("publisher.drained", file=self._file.path.name)
        self._cursor.retire(self._file.id)
        self.close()
        return True

    def look_again(self) -> bool:
        """Leave the current file if an older one could not be read and its time has come: what is answered
        there still waits. Whether it did."""
        if self._file is None:
            return False
        current = self._file.path
        older = takewhile(lambda path: path != current, journal_files(self._folder))
        if all(self._unreadable.get(path, math.inf) > time.monotonic() for path in older):
            return False
        self.close()
        return True

    def row(self, journal: str, seq: int) -> StoredCallback | None:
        """One callback of any file in the folder, for what was parked: not intact if it is not there any
        more, ``None`` if no file that can be opened is of this journal."""
        if self._file is not None and self._file.id == journal:
            return self._file.row(seq) or missing_row(seq)
        for file in self._readable():
            if file.id == journal:
                return file.row(seq) or missing_row(seq)
        return None

    def journals(self) -> list[str]:
        """The ids of the folder's files that can be opened, the oldest file's first."""
        return [file.id for file in self._readable()]

    def _readable(self) -> Iterator[JournalFile]:
        """Each that can be opened, in turn; it is closed before the next."""
        for path in journal_files(self._folder):
            with suppress(apsw.Error, JournalError), closing(JournalFile(path, read_only=True)) as file:
                yield file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _opened(path: Path) -> tuple[JournalFile, int]:
    """The file and its highest ``seq``. Raises ``JournalError`` or ``apsw.Error``, with nothing left open."""
    file = JournalFile(path, read_only=True)
    try:
        return file, file.highest_seq()
    except BaseException:
        file.close()
        raise
