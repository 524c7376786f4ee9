"""How a process leaves word that the journal in a folder is damaged: the ingress puts that folder aside when
it starts next, and imports it.
"""

import errno
from pathlib import Path
from typing import Final

import apsw
import structlog

log = structlog.get_logger(__name__)

DAMAGED_FILE: Final = "damaged"


def report_damage(folder: Path, words: str) -> None:
    """Leave ``words`` in ``folder``, a journal's. Whoever finds the damage does, and ends. Never raises: on
    such a disk this may fail, too, and the next start then looks for itself."""
    try:
        path = folder / DAMAGED_FILE
        path.touch(mode=0o600)
        path.write_text(words, encoding="utf-8")
    except OSError as error:
        log.warning("journal.damage_not_noted", error=type(error).__name__)


def reported_damage(folder: Path) -> str | None:
    """What somebody has reported of the journal in ``folder``; ``None``: nothing. Who uses that journal ends
    then, and lets go of it."""
    try:
        return (folder / DAMAGED_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError as error:  # none is there, or the machine is short of descriptors or memory just now
        return f"{type(error).__name__}: {error}" if error.errno == errno.EIO else None


def outlives_reopening(error: apsw.Error) -> bool:
    """Whether ``error``, of a file that was just opened anew, is about what stands on the disk: an I/O error,
    but for the one by which SQLite says that the disk is too full for a ``-shm`` file."""
    full = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    return isinstance(error, apsw.IOError) and not full
