"""Locks on the folders of journals: one process writes below a ``JOURNAL_DIR``, and none inside another's.

A process that writes holds its ``JOURNAL_DIR`` by an exclusive flock(2), and each folder above it by a shared
one. So of two whose folders lie inside each other the second is refused, at any depth and in either order of
starting, and no folder is walked. The file ``ingress.lock`` names the process.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Final

from dingbridge.ingress.errors import JournalLocked
from dingbridge.ingress.journal.folder import CURRENT

_LOCK: Final = "ingress.lock"
_REMEDY: Final = "stop it, or give each a JOURNAL_DIR that does not lie inside the other's"


@contextmanager
def journal_lock(root: Path) -> Iterator[None]:
    """Hold ``root``, a ``JOURNAL_DIR``, for the one process that writes there: an ingress, or a command
    without one. Held until the end, or that of the process.

    Raises ``JournalLocked`` where another process holds it, a folder above it, or one below it."""
    folder = root.resolve()
    with ExitStack() as locks:
        for above in folder.parents:
            taken = _take(locks, above, fcntl.LOCK_SH)
            if not taken and (above / _LOCK).exists():  # else another program has locked a folder of its own
                raise JournalLocked(
                    f"{folder} lies inside {above}, which another ingress (process {_process(above)}) holds; "
                    f"{_REMEDY}"
                )
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        locks.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise JournalLocked(
                f"another ingress (process {_process(folder)}) holds the journal in {root}; stop it, or give "
                "this one a JOURNAL_DIR of its own"
            ) from None
        if not _take(locks, folder, fcntl.LOCK_EX):
            raise JournalLocked(_used_below(folder))
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield


@contextmanager
def drain_lock(folder: Path, own: Path) -> Iterator[None]:
    """Keep every process from writing the journal in ``folder``, while the ingress that holds ``own`` drains
    it.

    Raises ``JournalLocked`` where a process holds the folder, or the ``JOURNAL_DIR`` that it belongs to."""
    folder = folder.resolve()
    of_journal_dir = folder.name == CURRENT or (folder.parent / _LOCK).exists()
    with ExitStack() as locks:
        for one in {folder, folder.parent} if of_journal_dir else {folder}:
            if one != own.resolve() and not _take(locks, one, fcntl.LOCK_SH):
                raise JournalLocked(
                    f"another ingress (process {_process(one)}) holds the journal in {one}, which is drained "
                    "only when that one has ended; stop it first"
                )
        yield


def _take(locks: ExitStack, path: Path, how: int) -> bool:
    """Lock ``path``, a folder or a file, until ``locks`` ends. ``False``: a lock of another process is in the
    way."""
    try:
        fd = os.open(path, os.O_RDONLY)
        locks.callback(os.close, fd)
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # not for this user to read, or on a file system that has no such locks
    return True


def _process(root: Path) -> str:
    """The id of the process that last held ``root``, as it stands in the file."""
    with suppress(OSError):
        return (root / _LOCK).read_bytes()[:32].decode("ascii", "replace").strip() or "unknown"
    return "unknown"


def _used_below(folder: Path) -> str:
    """The words for ``folder`` itself being free, but not what is in it. Only two levels are looked at."""
    for path in chain(folder.glob(f"*/{_LOCK}"), folder.glob(f"*/*/{_LOCK}")):
        with ExitStack() as probe:
            if not _take(probe, path, fcntl.LOCK_SH):
                process = _process(path.parent)
                return f"another ingress (process {process}) holds {path.parent}, inside {folder}; {_REMEDY}"
    return f"another ingress drains the journal in {folder}, or holds a folder inside it; {_REMEDY}"
