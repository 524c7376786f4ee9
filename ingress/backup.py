"""A copy of a journal folder that can be put in its place, made while an ingress writes it.

A file alone is no copy: its newest commits stand in the WAL beside it, and a cursor that is newer than its
journal is refused. So SQLite copies each file as of one moment, and the cursor goes first.
"""

from pathlib import Path

import apsw

from ingress.errors import JournalError
from ingress.journal.checkpoint import CursorFile
from ingress.journal.directory import CURSOR_FILE, journal_files, journal_folders, sync
from ingress.journal.store import JournalFile


def back_up(root: Path, target: Path) -> dict[str, int]:
    """Copy the journals below ``root`` (workers' too) to the folder ``target``: ``{file: bytes}``.

    It holds all that was answered ``success`` before this was called, and has no high-water marks: those
    are of the journal that goes on. Raises ``JournalError`` if ``target`` holds anything or a file cannot be
    copied; what was copied by then stays there.
    """
    if target.exists() and any(target.iterdir()):
        raise JournalError(f"{target} is not empty; name a new folder for the copy")
    copied: dict[str, int] = {}
    try:
        for folder in journal_folders(root):
            place = target / folder.relative_to(root)
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            cursor = [folder / CURSOR_FILE] if (folder / CURSOR_FILE).exists() else []
            for source in (*cursor, *journal_files(folder)):
                copied[str(source.relative_to(root))] = _copy(source, place / source.name)
            _check(place)
            sync(place)
    except (apsw.Error, OSError) as error:
        raise JournalError(
            f"the copy to {target} failed ({type(error).__name__}: {error}); it is not whole, remove it"
        ) from error
    return copied


def _copy(source: Path, target: Path) -> int:
    db = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(5000)
        target.touch(mode=0o600)  # VACUUM INTO takes an empty file, and its mode
        db.execute("VACUUM INTO ?", (str(target),))
    finally:
        db.close(True)
    sync(target)
    return target.stat().st_size


def _check(folder: Path) -> None:
    """Whether the copy can be opened as what it is."""
    for path in journal_files(folder):
        JournalFile(path, read_only=True).close()
    if (folder / CURSOR_FILE).exists():
        CursorFile(folder, read_only=True).close()
