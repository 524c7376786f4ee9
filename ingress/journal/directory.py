"""The journal's folder: who may use it, whether it can keep a promise, and which files stand in it.

One process at a time holds the folder, by a lock that the kernel releases with the process. Journal files
are numbered ``journal-0001.db``, ``journal-0002.db`` …: the highest is written, lower ones are drained.
"""

import fcntl
import os
import re
import sys
from pathlib import Path

from ingress.errors import JournalError, JournalLocked, JournalUnsafe

CURSOR_FILE = "cursor.db"
WORKER_PREFIX = "worker-"
_LOCK_FILE = "ingress.lock"
_JOURNAL = re.compile(r"journal-(\d{4,})\.db")

UNSAFE_FILE_SYSTEMS = {
    "tmpfs": "is memory: gone with the machine or the container",
    "ramfs": "is memory: gone with the machine",
    "overlay": "is a container's own layer: gone with the container",
    "overlayfs": "is a container's own layer: gone with the container",
    "nfs": "is a network file system, on which SQLite's WAL does not work",
    "nfs4": "is a network file system, on which SQLite's WAL does not work",
    "cifs": "is a network file system, on which SQLite's WAL does not work",
    "smb3": "is a network file system, on which SQLite's WAL does not work",
    "9p": "is a network file system, on which SQLite's WAL does not work",
    "fuse.sshfs": "is a network file system, on which SQLite's WAL does not work",
}
"""By Linux's names. SQLite's WAL needs shared memory between processes (sqlite.org/wal.html)."""


class FolderLock:
    """An exclusive lock on a journal folder, held until ``release`` or the end of the process."""

    def __init__(self, folder: Path, name: str = _LOCK_FILE) -> None:
        self._path = folder / name
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises ``JournalLocked`` when another process holds it, with that process's id if it left one."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise JournalLocked(
                f"another ingress (process {holder}) holds the journal in {self._path.parent}; stop it, "
                "or give this one a JOURNAL_DIR of its own"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def prepare_folder(folder: Path, *, allow_unsafe: bool) -> str | None:
    """Create ``folder`` (mode 0700) if absent, and check that it can keep a promise.

    Returns a warning when it cannot but ``allow_unsafe`` says to go on. Raises ``JournalUnsafe`` when it
    cannot, ``JournalError`` when it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)
    except OSError as error:
        raise JournalError(
            f"the journal's folder {folder} cannot be used ({error.strerror}); set JOURNAL_DIR to one that "
            "this user may write"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise JournalError(
            f"the journal's folder {folder} is not writable for user id {os.geteuid()}; chown it"
        )
    kind = file_system(folder)
    fault = UNSAFE_FILE_SYSTEMS.get(kind or "")
    if fault is None:
        return None
    if not allow_unsafe:
        raise JournalUnsafe(
            f"the journal's folder {folder} is on {kind}, which {fault}; set JOURNAL_DIR to a local disk or "
            "a volume, or JOURNAL_ALLOW_UNSAFE=1 for a trial"
        )
    return f"the journal is on {kind}, which {fault}"


def file_system(folder: Path) -> str | None:
    """Linux's name of the file system that ``folder`` is on; ``None`` where that cannot be told."""
    if sys.platform != "linux":
        return None
    here = str(folder.resolve())
    best, kind = "", None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        # octal escapes stand for space, tab, newline and backslash (proc_pid_mountinfo(5))
        mount = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), left.split()[4])
        inside = here == mount or here.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def journal_files(folder: Path) -> list[Path]:
    """The journal files in ``folder``, oldest first; the last is the one being written."""
    found = [(int(m.group(1)), p) for p in folder.glob("journal-*.db") if (m := _JOURNAL.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def next_journal_file(folder: Path) -> Path:
    """The path of the file that follows the newest, also where that has gone."""
    return folder / f"journal-{_highest(folder) + 1:04d}.db"


def newest_journal_file(folder: Path) -> Path | None:
    """The newest file; ``None`` where it has gone: an older one is drained, and not written again."""
    path = folder / f"journal-{_highest(folder):04d}.db"
    return path if path.exists() else None


def _highest(folder: Path) -> int:
    """The highest number that was ever given, as far as anything tells. What stood beside a file that has
    gone belongs to no other one."""
    names = (path.name.removesuffix("-mark").removesuffix("-wal") for path in folder.glob("journal-*.db*"))
    return max((int(match.group(1)) for name in names if (match := _JOURNAL.fullmatch(name))), default=0)


def missing_files(folder: Path) -> list[Path]:
    """Journal files that have gone, while their marks say that they held something."""
    marks = (path.with_name(path.name.removesuffix("-mark")) for path in folder.glob("journal-*.db-mark"))
    return sorted(path for path in marks if not path.exists())


def sync(path: Path) -> None:
    """Have the disk hold a file's content, or which files are in a folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def worker_folder(root: Path, number: int) -> Path:
    """The journal folder of worker ``number`` (from 1)."""
    return root / f"{WORKER_PREFIX}{number}"


def journal_folders(root: Path) -> list[Path]:
    """All folders below ``root``, itself included, that hold journal files."""
    return [folder for folder in possible_folders(root) if journal_files(folder)]


def possible_folders(root: Path) -> list[Path]:
    """``root`` and the folders of workers below it."""
    return [root, *sorted(p for p in root.glob(f"{WORKER_PREFIX}*") if p.is_dir())]
