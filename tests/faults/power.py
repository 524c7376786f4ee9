"""A machine whose power goes: a file system of ours below SQLite, and what is left on its disk.

What was written and not synced is kept apart, file by file, and so is what a folder's names were at its last
sync. When the power goes, at a chosen call, an image of the disk is made: of each file what was synced, and
any of the sectors and truncations since; of each folder the names that were synced, and any of the creations,
renamings and deletions since. The next life begins on that image. SQLite syncs a folder itself after it made
a WAL or a rollback journal there, the product by ``os.fsync`` of the folder: nothing else makes a name last.
"""

import contextlib
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from tests.support.disk import MortalDisk, _MortalFile, _Shadow

_DIRSYNC = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
"""Files after whose first sync SQLite's ``unix`` VFS syncs the folder, if it was to make them where they are
not there: also the connection that finds one which another has made, and never synced."""


class PowerDisk(MortalDisk):
    """The default VFS while it is registered. At call number ``dies_at``, or by ``power_off``, ``image`` is
    what is left of ``root``; whatever is done to ``root`` afterwards does not count.

    ``share``: how much of what was not synced is left, from 0 to 1; None: by the dice. With 1 only the
    process has died. ``on_death`` is called when the image is made. ``asked`` is called before a file is
    written (``"write"``) or synced (``"sync"``), and raises what a disk raises that refuses it."""

    def __init__(self, root: Path, image: Path, dice: random.Random) -> None:
        self.root, self.image, self._dice = root, image, dice
        self._lock = threading.RLock()
        self._pins: list[int] = []  # no inode of this life is given to another file
        self._pinned: set[int] = set()
        self._names: dict[int, dict[str, int]] = {}  # of each folder at its last sync
        self.share: float | None = None
        self.on_death: Callable[[], None] = lambda: None
        self.asked: Callable[[str], None] = lambda what: None
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            self.sync_names(folder)
        super().__init__()

    def close(self) -> None:
        self.unregister()
        for fd in self._pins:
            os.close(fd)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if self.dead:
            raise apsw.CantOpenError("the power is gone")
        return _PowerFile(self, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        if syncdir and not self.dead:
            self.sync_names(Path(filename).parent)

    def shadow(self, path: str) -> _Shadow:
        with self._lock:
            key = str(self._pin(Path(path)))
            if key not in self._shadows:
                self._shadows[key] = _Shadow(Path(path).read_bytes() if Path(path).exists() else b"")
            return self._shadows[key]

    def tick(self) -> None:
        with self._lock:
            before = self.dead
            try:
                super().tick()
            except apsw.IOError:
                if not before:
                    by_dice = self._dice.choice([0.0, 1.0, self._dice.random()])
                    self._leave(self.root, self.image, by_dice if self.share is None else self.share)
                    self.on_death()
                raise

    def power_off(self) -> None:
        """Now, if it has not gone already."""
        self.dies_at = self.calls + 1
        with contextlib.suppress(apsw.IOError):
            self.tick()

    def sync_names(self, folder: Path) -> None:
        """What ``folder`` is called and holds will last."""
        with self._lock:
            self._names[self._pin(folder)] = self._scan(folder)

    def _pin(self, path: Path) -> int:
        inode = path.stat().st_ino
        if inode not in self._pinned:
            self._pins.append(os.open(path, os.O_PATH))  # unlike another one, its closing drops no lock
            self._pinned.add(inode)
        return inode

    def _scan(self, folder: Path) -> dict[str, int]:
        return {path.name: self._pin(path) for path in folder.iterdir() if not path.name.endswith("-shm")}

    def _leave(self, folder: Path, image: Path, share: float) -> None:
        image.mkdir(mode=0o700)
        for name, inode in sorted(self._left(folder, share).items()):  # by name, so that a seed repeats
            now = {found: name for name, found in self._scan(folder).items()}
            path = folder / now.get(inode, name)
            if (shadow := self._shadows.get(str(inode))) is not None:
                (image / name).write_bytes(shadow.content(self._dice, share))
            elif inode in now and path.is_dir():
                self._leave(path, image / name, share)
            elif inode in now:  # a lock: SQLite never had it
                (image / name).write_bytes(path.read_bytes())

    def _left(self, folder: Path, share: float) -> dict[str, int]:
        """The names in ``folder``: a file that was renamed has its old name or its new one, not both."""
        now, synced = self._scan(folder), self._names.get(self._pin(folder), {})
        left = {name: inode for name, inode in synced.items() if now.get(name) == inode}
        for inode in dict.fromkeys(inode for _, inode in sorted(synced.items() ^ now.items())):
            names = now if self._dice.random() < share else synced
            left |= {name: each for name, each in names.items() if each == inode}
        return left


class _PowerFile(_MortalFile):
    def __init__(self, disk: PowerDisk, path: str | None, name: Any, flags: list[int]) -> None:
        apsw.VFSFile.__init__(self, "unix", name, flags)
        self._disk: PowerDisk = disk
        self._shadow = disk.shadow(path) if path is not None else _Shadow(b"")
        makes = flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _DIRSYNC
        self._unsynced_in = Path(path).parent if path is not None and makes else None

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.asked("write")
        self._shadow.since.append((offset, bytes(data)))  # some of it may be there if the power goes now
        self._disk.tick()
        apsw.VFSFile.xWrite(self, data, offset)

    def xTruncate(self, size: int) -> None:
        self._shadow.since.append((size, None))
        self._disk.tick()
        apsw.VFSFile.xTruncate(self, size)

    def xSync(self, flags: int) -> None:
        self._disk.asked("sync")
        super().xSync(flags)
        if self._unsynced_in is not None:
            self._disk.sync_names(self._unsynced_in)
            self._unsynced_in = None


@contextlib.contextmanager
def powered(root: Path, image: Path, dice: random.Random) -> Iterator[PowerDisk]:
    """One life on ``root``; at its end the power goes if it has not before, and ``image`` is there."""
    disk = PowerDisk(root, image, dice)
    told, fsync = sys.unraisablehook, os.fsync
    sys.unraisablehook = lambda what: None  # that a dead disk cannot be closed in order

    def sync(fd: int) -> None:
        fsync(fd)
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_dir() and path.is_relative_to(root):
            if disk.dead:
                raise OSError("the power is gone")
            disk.tick()
            disk.sync_names(path)

    os.fsync = sync
    try:
        yield disk
        disk.power_off()
    finally:
        os.fsync, sys.unraisablehook = fsync, told
        disk.close()
