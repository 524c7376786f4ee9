"""Reads callbacks out of the pages of a damaged journal file, whatever else of it is damaged.

The format is SQLite's (sqlite.org/fileformat2.html, §1.6 b-tree pages, §2 records, §4 the write-ahead log).
Every page is looked at by itself, without tables, indexes and free lists; which of the rows found are ours
and whole, their checksum says. So rows that were deleted may come too: who uses this knows what is published.
Pure: bytes in, rows out.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from ingress.journal.store import StoredCallback, row_of

_LEAF = 0x0D
_COLUMNS = 6
_PAGE_SIZES = frozenset(1 << power for power in range(9, 17))
_DEFAULT_PAGE_SIZE = 4096
_WAL_HEADER, _FRAME_HEADER = 32, 24
_TEXT_FROM, _BLOB_FROM = 13, 12
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Bytes(Protocol):
    """``bytes``, or what gives them piece by piece."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


def salvage(database: Bytes, wal: Bytes = b"") -> Iterator[StoredCallback]:
    """The callbacks that stand whole in ``database`` or in its write-ahead log, in no order; some twice."""
    pages = _Pages(database, wal)
    for page in pages.all():
        yield from _rows(page, pages)


class _Pages:
    """The pages of a file, the log's before the database's."""

    def __init__(self, database: Bytes, wal: Bytes) -> None:
        self.size = _page_size(database, wal)
        self._database, self._wal = database, wal
        self._frames: dict[int, int] = {}
        self._logged = range(_WAL_HEADER, len(wal) - _FRAME_HEADER - self.size + 1, _FRAME_HEADER + self.size)
        for at in self._logged:
            if wal[at + 8 : at + 16] == wal[16:24]:  # the salt: not of an earlier round of the log
                self._frames[_uint(wal[at : at + 4])] = at + _FRAME_HEADER

    def all(self) -> Iterator[bytes]:
        """Every version of every page."""
        for at in range(0, len(self._database) - self.size + 1, self.size):
            yield self._database[at : at + self.size]
        for at in self._logged:
            yield self._wal[at + _FRAME_HEADER : at + _FRAME_HEADER + self.size]

    def get(self, number: int) -> bytes:
        """The newest version of a page, counted from 1; empty if there is none."""
        if (at := self._frames.get(number)) is not None:
            return self._wal[at : at + self.size]
        return self._database[(number - 1) * self.size : number * self.size] if number else b""


def _page_size(database: Bytes, wal: Bytes) -> int:
    """As either header has it, if it can be."""
    for size in (_uint(database[16:18]) or 0, _uint(wal[8:12])):
        size = 65536 if size == 1 else size
        if size in _PAGE_SIZES:
            return size
    return _DEFAULT_PAGE_SIZE


def _rows(page: bytes, pages: _Pages) -> Iterator[StoredCallback]:
    if not page or page[0] != _LEAF:
        return
    for pointer in range(8, 8 + 2 * _uint(page[3:5]), 2):
        try:
            seq, record = _cell(page, _uint(page[pointer : pointer + 2]), pages)
            row = row_of(seq, *_values(record)[1:])
        except (IndexError, ValueError):
            continue
        if row.intact:
            yield row


def _cell(page: bytes, at: int, pages: _Pages) -> tuple[int, bytes]:
    """Row id and record of a cell, with what overflows to further pages."""
    size, at = _varint(page, at)
    seq, at = _varint(page, at)
    usable = pages.size
    if size <= usable - 35:
        return seq, page[at : at + size]
    least = (usable - 12) * 32 // 255 - 23
    local = least + (size - least) % (usable - 4)
    local = local if local <= usable - 35 else least
    parts, left = [page[at : at + local]], size - local
    follow = _uint(page[at + local : at + local + 4])
    been: set[int] = set()
    while left > 0:
        further = pages.get(follow)
        if len(further) < usable or follow in been:
            raise ValueError("an overflow page is not there, or leads back to itself")
        been.add(follow)
        follow = _uint(further[:4])
        parts.append(further[4 : 4 + min(left, usable - 4)])
        left -= usable - 4
    return seq, b"".join(parts)


def _values(record: bytes) -> list[Any]:
    """The columns of a record of our table. Raises ``ValueError`` or ``IndexError`` for any other."""
    end, at = _varint(record, 0)
    kinds = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    if len(kinds) != _COLUMNS or at != end:
        raise ValueError("not a row of ours")
    found: list[Any] = []
    for kind in kinds:
        value, at = _value(record, kind, at)
        found.append(value)
    return found


def _value(record: bytes, kind: int, at: int) -> tuple[Any, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if (width := _INTEGER_BYTES.get(kind)) is not None:
        return int.from_bytes(record[at : at + width], "big", signed=True), at + width
    if kind < _BLOB_FROM:
        raise ValueError("not a row of ours")
    if kind % 2:
        size = (kind - _TEXT_FROM) // 2
        return record[at : at + size].decode(), at + size
    size = (kind - _BLOB_FROM) // 2
    return record[at : at + size], at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and where the next thing begins."""
    value = 0
    for step in range(8):
        byte = data[at + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + step + 1
    return value << 8 | data[at + 8], at + 9


def _uint(data: bytes) -> int:
    return int.from_bytes(data, "big")
