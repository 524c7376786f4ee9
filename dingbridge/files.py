"""Files that are written whole or not at all, and last: who reads one finds what stood there before, or all
of what was written.
"""

import os
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of the file, with its mode and owner; a link to it stays one.

    Raises ``OSError``; then nothing has changed.
    """
    path = path.resolve()
    status = path.stat()
    temporary = _written(path, data, status.st_mode & 0o777, (status.st_uid, status.st_gid))
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def new_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Make a file, and the folders (0700) that it needs. Raises ``OSError``, also when there is one already;
    then nothing has changed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = _written(path, data, mode)
    try:
        os.link(temporary, path)  # unlike a rename it takes nobody's place
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _written(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> Path:
    """A file beside ``path`` that holds all of ``data`` on the disk."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "xb", opener=_private) as file:
            file.write(data)  # unlike os.write it goes on after a short write, or raises
            file.flush()
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)  # whatever the umask took away or a default ACL added
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
