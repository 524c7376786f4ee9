"""The folders of ``JOURNAL_DIR``: ``current``, whose journal is written, and those that were put aside.

``drain.py`` drains ``damaged-…`` into the current one. No folder is looked into deeper than that: what lies
further down belongs to somebody else. A folder is refused, with the remedy, rather than used in a way that
could leave a callback unpublished.
"""

import errno
import os
import re
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw
import structlog

from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.disk import check, in_words, sync
from dingbridge.ingress.journal.file import JournalFile

log = structlog.get_logger(__name__)

JOURNAL_FILE: Final = "journal.db"
CURRENT: Final = "current"
DRAINED: Final = "drained"
"""The file that marks a drained folder of which something could not be read: it stays for a person."""
_DAMAGED: Final = "damaged-"
"""Begins the names of the folders that are drained without being asked."""
_NEW: Final = "new"
"""The folder in which a new journal is made before it becomes ``current``."""
_OWN_FILES: Final = re.compile(r"journal\.db(-wal|-shm|-journal)?")
"""The names of a journal's files, SQLite's own among them."""

BLOCK_BYTES_MIN: Final = 4096
MIN_FREE_BYTES: Final = 256 * 1024 * 1024
"""With less free disk, published callbacks are deleted at once, and nothing is drained: the room is for new
callbacks."""
_QUICK_CHECK_MAX_BYTES: Final = 1 << 28
"""A larger file is not checked, which would take minutes; its pages are checked as they are read."""

_MEMORY = "is memory: gone with the machine or the container"
_LAYER = "is a container's own layer: gone with it"
_NETWORK = "is a network file system, on which SQLite's WAL does not work"
UNSAFE_FILE_SYSTEMS = {
    **dict.fromkeys(("tmpfs", "ramfs"), _MEMORY),
    **dict.fromkeys(("overlay", "overlayfs"), _LAYER),
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"), _NETWORK),
}
"""By Linux's names. SQLite's WAL needs shared memory between processes (sqlite.org/wal.html)."""


def current(root: Path) -> Path:
    """The journal's file that is written below ``root`` (``JOURNAL_DIR``); it need not exist yet."""
    return root / CURRENT / JOURNAL_FILE


def beside_current(root: Path) -> list[Path]:
    """The other journals' files in ``root`` that are to be seen without a walk: in a folder of any name, or
    in its ``current``, where ``mv`` puts a second one that is moved to the same name."""
    found = (*root.glob(f"*/{JOURNAL_FILE}"), *root.glob(f"*/{CURRENT}/{JOURNAL_FILE}"))
    return sorted(path for path in found if path.parent not in (root / CURRENT, root / _NEW))


def put_aside(root: Path, *, drained: bool = False) -> list[Path]:
    """The journals' files in the folders ``damaged-…`` of ``root`` that are not drained yet. ``drained``:
    those that are, and of which something could not be read."""
    found = root.glob(f"{_DAMAGED}*/{JOURNAL_FILE}")
    own = [path for path in found if not path.parent.is_symlink()]  # a link leads out of the folder we hold
    return sorted(path for path in own if (path.parent / DRAINED).exists() is drained)


def name_below(root: Path, folder: Path) -> str:
    """The name of a journal's ``folder``: its path below ``root``, or the whole path of one elsewhere."""
    folder, root = folder.resolve(), root.resolve()
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)


def open_current(root: Path, *, failed: bool = False) -> JournalFile:
    """Open the journal in ``root/current``; if there is none, make it. With ``failed``, a commit has failed
    there, and none is made.

    Its WAL must be written back, and a commit succeed: after a failed fsync the page cache can lie, also to
    another process.

    Raises what is damage by ``is_damage``; ``JournalError`` for a file of another version; ``apsw.Error`` or
    ``OSError`` when the disk refuses."""
    if not failed and not current(root).exists():
        _begin(root)
    file = JournalFile(current(root))
    try:
        if not failed and file.path.stat().st_size <= _QUICK_CHECK_MAX_BYTES:
            check(file.db)
        file.check_state()
        try:
            file.truncate_wal()
        except apsw.BusyError:  # a back-up reads it, perhaps for minutes
            if failed:
                raise
        file.probe()
    except BaseException:
        file.close()
        raise
    return file


def rename_damaged(root: Path, why: str) -> None:
    """Put the current folder aside, which is damaged. Nobody may have its file open.

    Raises ``JournalError`` when another one is not drained yet, or when the disk refuses."""
    target = root / f"{_DAMAGED}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if waiting := [path.parent for path in put_aside(root)]:
        raise JournalError(
            f"the journal in {root / CURRENT} is damaged ({why}), and {waiting[0]}, which was put aside "
            f"before, is not drained yet. Nothing was changed. Replace the disk under {root}; then move "
            f"{root / CURRENT} to {target} and start again, to publish what can be read of both"
        )
    try:
        (root / CURRENT).rename(target)
        sync(root)
    except OSError as error:
        raise JournalError(in_words(root, error)) from error
    log.error("journal.put_aside", folder=target.name, reason=why)


def _begin(root: Path) -> None:
    """Make an empty journal the current one. A kill leaves none, or a whole one."""
    folder, new = root / CURRENT, root / _NEW
    if folder.exists() and (left := sorted(path.name for path in folder.iterdir())):
        raise JournalError(
            f"{folder} has no {JOURNAL_FILE}, but {', '.join(left)}. Nothing was changed. Put the file back; "
            f"or, if its callbacks are given up, move {folder} away"
        )
    if new.exists():  # of an interrupted attempt; no callback was ever kept in it
        delete_folder(new)
    new.mkdir(mode=0o700)
    with closing(JournalFile(new / JOURNAL_FILE, create=True)) as file:
        file.truncate_wal()
    sync(new)
    new.rename(folder)
    sync(root)


def delete_folder(folder: Path) -> None:
    """Delete a journal's ``folder`` with its files, by their names.

    Raises ``JournalError`` where another file lies in the folder, say another journal; nothing is deleted.
    Raises ``OSError`` when the disk refuses."""
    files = sorted(folder.iterdir())
    for path in files:
        if path.is_dir() or not _OWN_FILES.fullmatch(path.name):
            raise JournalError(f"{folder} is kept: it also holds {path.name}; move that elsewhere")
    for path in files:
        path.unlink()
    folder.rmdir()


def prepare_folder(folder: Path, *, allow_unsafe: bool) -> str | None:
    """Create ``folder`` (mode 0700) if absent, and check that its file system is safe for a journal.

    Raises ``JournalError`` when it is not, or when the folder cannot be created or written. With
    ``allow_unsafe`` an unsafe file system is only a warning, which is returned.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise JournalError(
            f"the journal's folder {folder} cannot be used ({error.strerror}); chown it to user id "
            f"{os.geteuid()}, or set JOURNAL_DIR to a folder that this user may write"
        ) from error
    fault = why_unsafe(folder)
    if fault is None:
        return None
    if not allow_unsafe:
        raise JournalError(
            f"the journal's folder {folder} is on {fault}; set JOURNAL_DIR to a local disk or a volume, or "
            "JOURNAL_ALLOW_UNSAFE=1 for a trial"
        )
    return f"the journal is on {fault}"


def why_unsafe(folder: Path) -> str | None:
    """Why callbacks on the file system under ``folder`` may be lost, in words; ``None`` if it is safe."""
    kind = file_system(folder)
    if (fault := UNSAFE_FILE_SYSTEMS.get(kind or "")) is not None:
        return f"{kind}, which {fault}"
    block_bytes = os.statvfs(folder).f_frsize
    if block_bytes < BLOCK_BYTES_MIN:
        # SQLite maps its -shm file by pages of 4 KiB: a disk that is full within one ends in SIGBUS
        return (
            f"{kind or 'a file system'} with blocks of {block_bytes} bytes: when it is full, the process is "
            f"killed (SIGBUS); it needs blocks of {BLOCK_BYTES_MIN} (mkfs.ext4 -b {BLOCK_BYTES_MIN})"
        )
    return None


def file_system(folder: Path) -> str | None:
    """Linux's name of the file system that ``folder`` is on; ``None`` where that is unknown."""
    if sys.platform != "linux":
        return None
    here = folder.resolve()
    best, kind = "", None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        # octal escapes stand for space, tab, newline and backslash (proc_pid_mountinfo(5))
        mount = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), left.split()[4])
        if here.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind
