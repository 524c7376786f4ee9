"""The relay's read-only view of its journal, off the event loop, by a connection of its own: it sees
committed rows only.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw

from dingbridge.ingress.errors import JournalDamaged
from dingbridge.ingress.journal.disk import is_damage
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.rows import Parked, StoredCallback, damaged_row

T = TypeVar("T")

_MAX_ROWS = 256
_MAX_BYTES = 1 << 20


class JournalReader:
    """Holds no statement open, so that SQLite can write the WAL back. One call at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: JournalFile | None = None

    async def read(self, look: Callable[[JournalFile], T]) -> T:
        """What ``look`` returns. Raises ``JournalDamaged``, ``JournalError`` for a file of another version,
        and ``apsw.Error`` when the disk fails otherwise."""

        def work() -> T:
            self._file = self._file or JournalFile(self._path, read_only=True)
            return look(self._file)

        try:
            return await asyncio.to_thread(work)
        except apsw.Error as error:
            if is_damage(error):
                words = f"{self._path} is damaged ({type(error).__name__}: {error})"
                raise JournalDamaged(words) from error
            raise

    def close(self) -> None:
        """May be called again."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(apsw.Error):  # a read that was cut off may still use it
                file.close()


def callbacks_behind(file: JournalFile, after_seq: int) -> list[StoredCallback]:
    """The next callbacks behind ``after_seq``, in order; not ``intact`` where their checksum is wrong.

    Raises ``apsw.CorruptError`` for a missing one: behind what Kafka has acknowledged numbers have no gaps.
    """
    highest_seq = file.highest_seq()  # before the rows, since the ingress goes on keeping new ones
    rows = file.read(after_seq, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES)
    numbers = [row.seq for row in rows] or [highest_seq] * (highest_seq > after_seq)
    if numbers != [*range(after_seq + 1, after_seq + 1 + len(rows))]:
        raise apsw.CorruptError(f"callbacks are missing behind {after_seq}")
    return rows


def parked_callbacks(
    file: JournalFile, topic: str | None, reasons: Iterable[str], after_seq: int, limit: int
) -> list[tuple[Parked, StoredCallback]]:
    """The first callbacks behind ``after_seq`` that are parked for ``topic`` (None: for any) and one of
    ``reasons``: at most ``limit``, and about 1 MiB of them."""
    found, size = [], 0
    for parked in file.parked(topic, reasons, after_seq, limit):
        row = file.row(parked.seq) or damaged_row(parked.seq)
        found.append((parked, row))
        size += len(row.body)
        if size >= _MAX_BYTES:
            break
    return found
