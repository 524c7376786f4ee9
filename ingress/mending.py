"""Puts a sound journal file in the place of a damaged one, with all that can still be read of it.

The damaged file is kept beside it. What was already in Kafka, the cursor knows; a callback that waits and
cannot be read is told by the publisher, which parks it as damaged. The caller holds the folder's lock.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from dingbridge.events import dedupe_key, extract_facts
from ingress.errors import JournalError, JournalNewer
from ingress.high_water import HighWater
from ingress.journal.checkpoint import CursorFile
from ingress.journal.directory import CURSOR_FILE, journal_files, sync
from ingress.journal.store import JournalFile, StoredCallback, checksum
from ingress.salvage import Bytes, salvage

_GROUP = 1_000
_MENDED, _DAMAGED = ".mended", ".damaged-"
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of one file: ``callbacks`` are in the new one, of which ``waiting`` were not published;
    ``lost`` that waited, too, could not be read. ``kept``: where the damaged one stands now."""

    file: str
    fault: str
    callbacks: int
    waiting: int
    lost: int
    kept: str


def mend(folder: Path) -> list[Mended]:
    """Mend each damaged journal file of ``folder``; those that are sound are left as they are.

    May be called again after it was cut off at any moment. Raises ``JournalError`` where a file does not tell
    which journal it is, is a newer version's, or the cursor cannot be read; ``apsw.Error`` or ``OSError``
    when the disk fails.
    """
    for complete in sorted(folder.glob(f"journal-*.db{_MENDED}")):
        _put_in_place(complete.with_name(complete.name.removesuffix(_MENDED)))
    return [_mend(path, fault) for path in journal_files(folder) if (fault := fault_of(path))]


def fault_of(path: Path) -> str | None:
    """What keeps the file from being used as it is; None if nothing does."""
    try:
        file = JournalFile(path, read_only=True)
        try:
            found = [str(line) for (line,) in file.db.execute("PRAGMA quick_check(1)")]
        finally:
            file.close()
    except (apsw.CantOpenError, JournalNewer):
        raise
    except (apsw.Error, JournalError) as error:
        return f"{type(error).__name__}: {error}"
    return None if found == ["ok"] else found[0].replace("\n", " ")


def _mend(path: Path, fault: str) -> Mended:
    journal, known = _identity(path)
    cursor = _cursor_of(path.parent, journal)
    temporary = path.with_name(f"{path.name}{_MENDED}-unfinished")
    for leftover in path.parent.glob(f"{temporary.name}*"):
        leftover.unlink()
    file = JournalFile(temporary, create=True)
    try:
        file.db.execute("UPDATE meta SET value = ? WHERE key = 'id'", (journal,))
        with _bytes(path) as database, _bytes(path.with_name(f"{path.name}-wal")) as wal:
            twice = _fill(file, salvage(database, wal))
        # a cursor does not stand behind what was never given; below it nothing new may be numbered
        highest = max(known, file.highest_seq(), cursor)
        for number, row in enumerate(twice, highest + 1):
            _insert(file, [row._replace(seq=number)])
        highest += len(twice)
        _finish(file, highest, min(cursor, highest))
        callbacks = file.db.execute("SELECT count(*) FROM callbacks").get
        waiting = file.db.execute("SELECT count(*) FROM callbacks WHERE seq > ?", (cursor,)).get
        file.checkpoint_truncate()
    finally:
        file.close()
    sync(temporary)
    temporary.rename(path.with_name(path.name + _MENDED))
    kept = _put_in_place(path)
    return Mended(path.name, fault, callbacks, waiting, max(highest - cursor, 0) - waiting, kept)


def _identity(path: Path) -> tuple[str, int]:
    """The journal's id and its highest number, as far as the file or its mark tells."""
    journal, highest = HighWater(path).read() or (None, 0)
    try:
        file = JournalFile(path, read_only=True)
        try:
            if _ID.fullmatch(str(file.id)) and file.id != journal:
                journal, highest = file.id, 0
            highest = max(highest, file.highest_seq())
        finally:
            file.close()
    except (apsw.Error, JournalError):
        pass  # then the mark alone tells
    if journal is None:
        raise JournalError(
            f"neither {path} nor a mark beside it tells which journal it is, so how far the publisher came "
            f"in it is not known. Nothing was changed. Restore {path.name} from a back-up, or move it out of "
            "the folder"
        )
    return journal, highest


def _cursor_of(folder: Path, journal: str) -> int:
    if not (folder / CURSOR_FILE).exists():
        return 0
    try:
        cursor = CursorFile(folder, read_only=True)
        try:
            fault = cursor.damage()
            if fault is None:
                return cursor.seq(journal)
        finally:
            cursor.close()
    except apsw.Error as error:
        fault = f"{type(error).__name__}: {error}"
    raise JournalError(
        f"{folder / CURSOR_FILE} is damaged ({fault}). Nothing was changed. Move {CURSOR_FILE}* out of the "
        "folder first: all that stands in the journal is then published again, and nothing is lost"
    )


def _fill(file: JournalFile, rows: Iterator[StoredCallback]) -> list[StoredCallback]:
    """Insert ``rows``; returns those whose number another one has, as after a commit that was torn."""
    twice: list[StoredCallback] = []
    group: list[StoredCallback] = []
    for row in rows:
        group.append(row)
        if len(group) == _GROUP:
            twice += _insert(file, group)
            group = []
    return twice + _insert(file, group)


def _insert(file: JournalFile, rows: list[StoredCallback]) -> list[StoredCallback]:
    twice = []
    with file.db:
        for seq, received_ms, app, via, body, _ in rows:
            file.db.execute(
                "INSERT INTO callbacks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (seq, received_ms, app, via, body, checksum(seq, received_ms, app, via, body)),
            )
            if not file.db.changes():
                there = file.row(seq)
                if there is not None and there[1:5] != (received_ms, app, via, body):
                    twice.append(StoredCallback(seq, received_ms, app, via, body))
                continue
            key = dedupe_key(extract_facts(body), app, body)  # so that a repeated push is still recognised
            file.db.execute("INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING", (key, received_ms))
    return twice


def _finish(file: JournalFile, highest: int, pruned: int) -> None:
    with file.db:
        file.db.execute("DELETE FROM sqlite_sequence WHERE name = 'callbacks'")
        file.db.execute("INSERT INTO sqlite_sequence VALUES ('callbacks', ?)", (highest,))
        file.db.execute("INSERT OR REPLACE INTO meta VALUES ('pruned', ?)", (str(pruned),))


def _put_in_place(path: Path) -> str:
    """Of the damaged file and the mended one beside it. The log goes first: SQLite would play it back."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = path.with_name(f"{path.name}{_DAMAGED}{stamp}")
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    path.with_name(path.name + _MENDED).rename(path)
    sync(path.parent)
    return kept.name


class _Disk:
    """The bytes of a file, of which the disk may not give all: those that it does not give are zero. (Mapped
    into memory, the first of them would end the process.)"""

    def __init__(self, fd: int) -> None:
        self._fd, self._size = fd, os.fstat(fd).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(self._size)
        try:
            return os.pread(self._fd, max(end - begin, 0), begin)
        except OSError:
            return bytes(max(end - begin, 0))


@contextlib.contextmanager
def _bytes(path: Path) -> Iterator[Bytes]:
    if not path.exists():
        yield b""
        return
    with path.open("rb") as file:
        yield _Disk(file.fileno())
