"""The folders below ``JOURNAL_DIR``, their locks, and whether their file system is safe for a journal.

``JOURNAL_DIR/current`` holds the journal that is written, with its checkpoint. A damaged one is put aside:
renamed to ``damaged-<UTC time>`` beside it, and imported. One ingress at a time holds ``JOURNAL_DIR``, and
one relay its journal, by locks that the kernel releases with the process.
"""

import errno
import fcntl
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

import apsw
import structlog

from dingbridge.ingress.errors import (
    JournalDamaged,
    JournalError,
    JournalLocked,
    JournalNewer,
    JournalOlder,
)
from dingbridge.migrations.file_format import FileFormat

log = structlog.get_logger(__name__)
T = TypeVar("T")

JOURNAL_FILE: Final = "journal.db"
CHECKPOINT_FILE: Final = "checkpoint.db"
RELAY_LOCK: Final = "relay.lock"
INGRESS_LOCK: Final = "ingress.lock"
CURRENT: Final = "current"
DAMAGED_PREFIX: Final = "damaged-"
DAMAGED_FILE: Final = "damaged"
"""In a journal's folder: the damage that a process has reported, to be dealt with at the next start."""

_OWN_FILES: Final = re.compile(r"(journal|checkpoint)\.db(-\w+)?|relay\.(lock|wake)|damaged(\.\d+)?")
"""The names of all files that this program makes in a journal's folder."""

BUSY_MS: Final = 5000
"""How long SQLite waits for another process that has a file locked, as one that makes a back-up."""

BLOCK_BYTES_MIN: Final = 4096
MIN_FREE_BYTES: Final = 256 * 1024 * 1024
"""With less free disk, published callbacks are deleted at once, and nothing is imported: the room is for new
callbacks."""

_OF_THE_MACHINE = (apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP, apsw.SQLITE_IOERR_NOMEM)
"""I/O errors about memory, or about room for a ``-shm`` file: the file on the disk may be sound."""

_MEMORY = "is memory: gone with the machine or the container"
_LAYER = "is a container's own layer: gone with it"
_NETWORK = "is a network file system, on which SQLite's WAL does not work"
UNSAFE_FILE_SYSTEMS = {
    **dict.fromkeys(("tmpfs", "ramfs"), _MEMORY),
    **dict.fromkeys(("overlay", "overlayfs"), _LAYER),
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"), _NETWORK),
}
"""By Linux's names. SQLite's WAL needs shared memory between processes (sqlite.org/wal.html)."""


@dataclass(frozen=True, slots=True, order=True)
class JournalFolder:
    """One folder with a journal and its checkpoint."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / JOURNAL_FILE

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's file."""
        return self.path / CHECKPOINT_FILE


def current(root: Path) -> JournalFolder:
    """The folder below ``root`` (``JOURNAL_DIR``) whose journal is written; it need not exist yet."""
    return JournalFolder(root / CURRENT)


def damaged(root: Path) -> list[JournalFolder]:
    """The damaged folders below ``root``, the oldest first."""
    return sorted(JournalFolder(path) for path in root.glob(f"{DAMAGED_PREFIX}*") if path.is_dir())


def folders(root: Path) -> list[JournalFolder]:
    """Every folder below ``root`` that has a journal, damaged ones first."""
    return [folder for folder in (*damaged(root), current(root)) if folder.journal.exists()]


def damaged_name(root: Path, now: datetime) -> Path:
    """The path to which ``current`` is renamed when it is put aside at ``now``. Nothing is there yet: ``mv``
    moves into a folder that exists."""
    while (path := root / f"{DAMAGED_PREFIX}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}").exists():
        now += timedelta(seconds=1)
    return path


def delete_folder(folder: Path) -> None:
    """Delete a journal's ``folder`` with its files, by their names.

    Raises ``JournalError`` where anything else lies in it, such as another journal: then it stays as it is.
    Raises ``OSError`` when the disk refuses."""
    files = sorted(folder.iterdir())
    for path in files:
        if path.is_dir() or not _OWN_FILES.fullmatch(path.name):
            raise JournalError(
                f"{folder} is kept: it also holds {path.name}, which is none of its journal's files; move "
                f"{path} elsewhere, and if it has a {JOURNAL_FILE}, run `dingbridge journal drain` on it"
            )
    for path in files:
        path.unlink()
    folder.rmdir()


def last_put_aside(root: Path) -> datetime | None:
    """When the newest damaged folder below ``root`` was put aside, by its name."""
    times = []
    for folder in damaged(root):
        with suppress(ValueError):  # one that somebody has named by hand
            stamp = folder.name.removeprefix(DAMAGED_PREFIX)
            times.append(datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
    return max(times, default=None)


class ProcessLock:
    """An exclusive lock on a file, held until ``release`` or the end of the process."""

    def __init__(self, path: Path, refusal: str) -> None:
        """``refusal``: the error's words when another process, ``{holder}``, has it."""
        self._path, self._refusal = path, refusal
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises ``JournalLocked`` when another process holds it, with that process's id if it left one."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise JournalLocked(self._refusal.format(holder=holder)) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def ingress_lock(root: Path) -> ProcessLock:
    """The lock that the one ingress of ``root`` holds."""
    words = (
        f"another ingress (process {{holder}}) holds the journal in {root}; stop it, or give this one a "
        "JOURNAL_DIR of its own"
    )
    return ProcessLock(root / INGRESS_LOCK, words)


def relay_lock(folder: Path) -> ProcessLock:
    """The lock of whoever publishes ``folder`` and writes its checkpoint."""
    words = f"process {{holder}} publishes {folder} just now; wait for its end, or stop its ingress"
    return ProcessLock(folder / RELAY_LOCK, words)


@contextmanager
def exclusive_locks(*locks: ProcessLock) -> Iterator[None]:
    """All of ``locks``, or none. Raises ``JournalLocked``."""
    with ExitStack() as taken:
        for lock in locks:
            lock.acquire()
            taken.callback(lock.release)
        yield


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


def report_damage(folder: Path, words: str) -> None:
    """Write ``words`` to ``DAMAGED_FILE`` in a journal's ``folder``; a process that finds damage does this,
    and ends. Never raises: if such a disk refuses this too, the next start has to find the damage itself."""
    try:
        draft = folder / f"{DAMAGED_FILE}.{os.getpid()}"
        draft.touch(mode=0o600)
        try:
            draft.write_text(words, encoding="utf-8")
        finally:  # also without words, as on a full disk; whole, since other processes look for it
            draft.replace(folder / DAMAGED_FILE)
    except OSError as error:
        log.warning("journal.damage_not_noted", error=type(error).__name__)


def reported_damage(folder: Path) -> str | None:
    """The damage that a process has reported of the journal in ``folder``; ``None``: none. Each process that
    uses the journal must end then."""
    try:
        return (folder / DAMAGED_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError as error:  # mostly: there is no such file; EIO is damage as well
        return f"{type(error).__name__}: {error}" if error.errno == errno.EIO else None


def twice(work: Callable[[], T]) -> T:
    """Run ``work``, which opens a file of the journal and uses it, and run it again after an I/O error. A
    second one is damage.

    Raises ``JournalDamaged``, and all else that ``work`` raises."""
    try:
        return work()
    except apsw.IOError as first:
        log.warning("journal.io_error", error=str(first))
    try:
        return work()
    except apsw.IOError as error:
        if not about_the_file(error):
            raise
        raise JournalDamaged(f"{type(error).__name__}: {error}") from error


def takes_no_write(error: Exception) -> bool:
    """Return whether ``error`` says that the disk has no room, or the user's quota none. The files are sound.

    Only ENOSPC becomes ``FullError``; EDQUOT becomes an I/O error (``unixWrite`` in SQLite's ``os_unix.c``).
    """
    return isinstance(error, apsw.FullError) or _extended(error) == apsw.SQLITE_IOERR_WRITE


def about_the_file(error: Exception) -> bool:
    """Return whether ``error`` is an I/O error that may be about what stands on the disk."""
    of_the_machine = takes_no_write(error) or _extended(error) in _OF_THE_MACHINE
    return isinstance(error, apsw.IOError) and not of_the_machine


def _extended(error: Exception) -> int:
    """SQLite's extended result code (sqlite.org/rescode.html); 0 for an error that has none."""
    return int(getattr(error, "extendedresult", 0))


def sync(path: Path) -> None:
    """fsync a file, or a folder (which files are in it)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def connect(
    path: Path, known: FileFormat, *, read_only: bool = False, bring_up: bool = False
) -> apsw.Connection:
    """A connection to the journal or checkpoint at ``path``; a commit returns when it is on the disk.

    A file of an older version can be read. To write it, ``bring_up`` first, which nobody else may read
    meanwhile. Raises ``JournalNewer``; ``JournalOlder`` without ``bring_up``; ``apsw.Error`` when the disk
    refuses, or for damage."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    db = apsw.Connection(str(path), flags=flags)
    try:
        db.set_busy_timeout(BUSY_MS)
        _refuse_newer(db, path, known.version)
        if not read_only:
            empty = not path.stat().st_size
            if not empty and not bring_up:
                _refuse_older(db, path, known)
            if empty:  # can be set only now; without it the file never shrinks
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            # Invariant 1: a commit returns after its fsync
            db.execute("PRAGMA synchronous = FULL")
            if sys.platform == "darwin":
                # fsync(2) on macOS does not reach the disk's platter
                db.execute("PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1")
            if bring_up and known.first <= (version := int(db.pragma("user_version"))) < known.version:
                known.bring_up(db)
                log.info("journal.brought_up", file=path.name, before=version, now=known.version)
    except BaseException:
        db.close(True)
        raise
    return db


def quick_check(db: apsw.Connection) -> None:
    """Raises ``apsw.CorruptError`` with the first faults that SQLite finds in the file's structure."""
    found = [str(line) for (line,) in db.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise apsw.CorruptError("; ".join(found))


def crc_of(*parts: object) -> int:
    """CRC-32 of the numbers and texts of one row; against accidents of the disk."""
    return zlib.crc32(repr(parts).encode())


def _refuse_newer(db: apsw.Connection, path: Path, known: int) -> None:
    """Raises ``JournalNewer`` where ``PRAGMA user_version`` is above ``known``; ``db`` then changes nothing
    when it closes. This reads the header only: a newer schema may not parse here, which would look like
    damage."""
    version = int(db.pragma("user_version"))
    if version > known:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise JournalNewer(
            f"{path} was written by a newer dingbridge (version {version}, this one knows {known}); start "
            "the newer one, nothing was changed; or go back: with the newer one installed, run "
            f"`dingbridge journal downgrade {path.name} {known}`"
        )


def _refuse_older(db: apsw.Connection, path: Path, known: FileFormat) -> None:
    version = int(db.pragma("user_version"))
    if known.first <= version < known.version:
        raise JournalOlder(
            f"{path} was written by an older dingbridge (version {version}, this one writes "
            f"{known.version}); start this version's ingress, which brings it up"
        )
