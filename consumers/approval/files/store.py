"""Attachments on disk: ``<ARCHIVE_DIR>/<first two of the hash>/<SHA-256>``, written whole or not at all.

No file is named as its owner named it, so a name can lead nowhere; equal files are kept once. Folders are
0700 and files 0600. Not here: where the bytes come from (``downloads.py``).
"""

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

INCOMING = "incoming"
ABANDONED_S = 86_400
"""A temporary file of this age, in s, is left over from a process that died."""


class TooLarge(Exception):
    """More bytes came than may."""


class FileStore:
    """The files under ``folder``. Raises ``OSError`` where the disk does not do as asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the file of this hash is, or would be."""
        return self._folder / sha256[:2] / sha256

    def open(self) -> None:
        """Create the folders, and remove what a process that died has left."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        incoming = self._folder / INCOMING
        incoming.mkdir(mode=0o700, exist_ok=True)
        for path in incoming.iterdir():
            try:
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process of ours was faster

    async def save(self, chunks: AsyncIterator[bytes], *, most: int) -> tuple[str, int]:
        """Keep what comes, at most ``most`` bytes; its SHA-256 (hex) and its size in bytes.

        It is on the disk when this returns. Raises ``TooLarge``, ``OSError``, or what ``chunks`` raises, and
        nothing is left then.
        """
        temporary = self._folder / INCOMING / secrets.token_hex(16)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        file = await asyncio.to_thread(lambda: os.fdopen(os.open(temporary, flags, 0o600), "wb"))
        digest, size = hashlib.sha256(), 0
        try:
            with file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most:
                        raise TooLarge
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_to_disk, file)
            await asyncio.to_thread(self._move, temporary, self.path(digest.hexdigest()))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return digest.hexdigest(), size

    def _move(self, temporary: Path, target: Path) -> None:
        new = not target.parent.exists()
        target.parent.mkdir(mode=0o700, exist_ok=True)
        temporary.replace(target)
        _fsync_folder(target.parent)
        if new:
            _fsync_folder(self._folder)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
