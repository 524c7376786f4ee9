"""Disks that fail: one that dies at a chosen system call, in this process, and one that a control file makes
sick, in any process of ours. Both are SQLite VFSes; no hook for them is in the product.
"""

import contextlib
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import apsw

SECTOR = 512
"""What a disk writes as a whole; SQLite relies on no more (sqlite.org/psow.html)."""

Survives = Literal["all", "synced", "torn"]
"""What the files hold after a crash: everything that was written (the process died); what was synced (the
power went); or that and any of the sectors written since."""


@dataclass
class _Shadow:
    """A file as the platter has it, and what was written to it since its last sync."""

    synced: bytes
    since: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, data) or (size, None)

    def content(self, dice: random.Random | None, share: float = 0.5) -> bytes:
        """What is left: of what was written since the last sync about this ``share``; without dice none."""
        data = bytearray(self.synced)
        for offset, written in self.since if dice is not None else ():
            if written is None:
                if dice is not None and dice.random() < share:
                    data[offset:] = bytes(max(0, offset - len(data)))
                continue
            for begin in range(0, len(written), SECTOR):
                if dice is not None and dice.random() < share:
                    part = written[begin : begin + SECTOR]
                    at = offset + begin
                    data.extend(bytes(max(0, at - len(data))))
                    data[at : at + len(part)] = part
        return bytes(data)


class MortalDisk(apsw.VFS):
    """The default VFS for as long as it is registered. It counts every call that writes, syncs, truncates or
    deletes, and dies at number ``dies_at``: that call fails, half done if it wrote, and all later ones.

    Sync number ``sync_fails_at`` fails as Linux's does: what was to be synced stays readable, counts as
    clean, and never reaches the platter unless it is written again; the next sync succeeds."""

    def __init__(self) -> None:
        self.calls = 0
        self.dies_at: int | None = None
        self.dead = False
        self.syncs = 0
        self.sync_fails_at: int | None = None
        self._shadows: dict[str, _Shadow] = {}
        super().__init__("mortal", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if self.dead:
            raise apsw.CantOpenError("the disk is dead")
        return _MortalFile(self, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with contextlib.suppress(apsw.IOError):  # SQLite deletes as it closes, where no error can be told
            self.tick()
            self._shadows.pop(filename, None)
            super().xDelete(filename, syncdir)

    def tick(self) -> None:
        """Counts one call. Raises ``apsw.IOError`` when it is the last, or comes after it."""
        self.calls += 1
        self.dead = self.dead or self.calls == self.dies_at
        if self.dead:
            raise apsw.IOError("the disk is dead")

    def shadow(self, path: str) -> _Shadow:
        if path not in self._shadows:
            file = Path(path)
            self._shadows[path] = _Shadow(file.read_bytes() if file.exists() else b"")
        return self._shadows[path]

    def restart(self, survives: Survives, dice: random.Random) -> None:
        """The machine comes up again, with what survived. Every connection must be closed before."""
        if survives != "all":
            for path, shadow in self._shadows.items():
                if Path(path).exists():
                    Path(path).write_bytes(shadow.content(dice if survives == "torn" else None))
                    Path(path + "-shm").unlink(missing_ok=True)
        self._shadows.clear()
        self.dead, self.dies_at = False, None


class _MortalFile(apsw.VFSFile):
    def __init__(self, disk: MortalDisk, path: str | None, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._shadow = disk.shadow(path) if path is not None else _Shadow(b"")
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        try:
            self._disk.tick()
        except apsw.IOError:
            if self._disk.calls == self._disk.dies_at:
                half = bytes(data[: len(data) // 2])
                self._shadow.since.append((offset, half))
                super().xWrite(half, offset)
            raise
        self._shadow.since.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xLock(self, level: int) -> None:
        # SQLite tries to lock exclusively even a file that it may only read, and does not mind the refusal;
        # apsw would remember an error other than this one
        try:
            super().xLock(level)
        except apsw.IOError:
            raise apsw.BusyError("opened to read") from None

    def xTruncate(self, size: int) -> None:
        self._disk.tick()
        self._shadow.since.append((size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._disk.tick()
        self._disk.syncs += 1
        if self._disk.syncs == self._disk.sync_fails_at:
            self._shadow.since.clear()
            raise apsw.IOError("fsync failed")
        data = bytearray(self._shadow.synced)
        for offset, written in self._shadow.since:
            if written is None:
                data[offset:] = bytes(max(0, offset - len(data)))
            else:
                data.extend(bytes(max(0, offset - len(data))))
                data[offset : offset + len(written)] = written
        self._shadow.synced = bytes(data)
        self._shadow.since.clear()


@contextlib.contextmanager
def mortal_disk() -> Iterator[MortalDisk]:
    """A ``MortalDisk``, registered until the end of the block."""
    disk = MortalDisk()
    told = sys.unraisablehook
    sys.unraisablehook = lambda what: None  # that a dead disk cannot be closed in order
    try:
        yield disk
    finally:
        disk.unregister()
        sys.unraisablehook = told


_SICK = """
import os
import time
from pathlib import Path

import apsw

CONTROL = Path({control!r})
WRITING = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


def sickness(path, inode=None):
    kind, *inodes = CONTROL.read_text().split() or [""]
    return kind if not inodes or str(inode) in inodes else ""


class Disk(apsw.VFS):
    def xOpen(self, name, flags):
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        asked = flags[0]
        if sickness(path) == "read-only" and asked & WRITING:
            if not Path(path).exists():
                raise apsw.CantOpenError("read-only file system")
            flags[0] = asked & ~WRITING | apsw.SQLITE_OPEN_READONLY
        return File(path, name, flags)


class File(apsw.VFSFile):
    def __init__(self, path, name, flags):
        self.path = path
        super().__init__("unix", name, flags)
        self.inode = os.stat(path).st_ino if path else None

    def xWrite(self, data, offset):
        kind = sickness(self.path, self.inode)
        if kind == "full":
            raise apsw.FullError("no space left on device")
        if kind == "over-quota":  # SQLite's code for EDQUOT
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)
        if kind == "read-only":
            raise apsw.IOError("read-only file system")
        super().xWrite(data, offset)

    def xRead(self, amount, offset):
        if sickness(self.path, self.inode) == "unreadable":
            raise apsw.exception_for(apsw.SQLITE_IOERR_READ)
        return super().xRead(amount, offset)

    def xLock(self, level):
        try:  # for the reason that is in _MortalFile
            super().xLock(level)
        except apsw.IOError:
            raise apsw.BusyError("opened to read") from None

    def xSync(self, flags):
        kind = sickness(self.path, self.inode)
        if kind == "fsync":
            raise apsw.IOError("fsync failed")
        if kind == "slow":
            time.sleep(3)
        super().xSync(flags)


disk = Disk("sick", "unix", makedefault=True)
"""

Sickness = Literal["full", "over-quota", "read-only", "unreadable", "fsync", "slow"]


class SickDisk:
    """For processes that are started with ``env``: their disk is well until ``falls`` says otherwise."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._control = folder / "sickness"
        self.env = {"PYTHONPATH": str(folder)}
        (folder / "sitecustomize.py").write_text(_SICK.format(control=str(self._control)))
        self.recovers()

    def falls(self, sickness: Sickness, files: Sequence[Path] = ()) -> None:
        """``full`` and ``over-quota``: no byte can be written; ``read-only``: nor can a file be opened to
        write; ``unreadable``: none can be read; ``fsync``: every fsync fails; ``slow``: it takes 3 s. All
        files, or these, whatever they are called later."""
        self._set(" ".join([sickness, *(str(file.stat().st_ino) for file in files)]))

    def recovers(self) -> None:
        self._set("")

    def _set(self, words: str) -> None:
        new = self._control.with_suffix(".new")
        new.write_text(words)
        new.replace(self._control)
