"""A set of offsets in little memory: a bit for each, whatever their number."""

from collections.abc import Iterable

_CHUNK = 8_192
"""Offsets in one piece of 1 KiB."""


class OffsetSet:
    """Offsets of one partition."""

    def __init__(self, offsets: Iterable[int] = ()) -> None:
        self._chunks: dict[int, bytearray] = {}
        self._count = 0
        for offset in offsets:
            self.add(offset)

    def add(self, offset: int) -> None:
        number, place = divmod(offset, _CHUNK)
        chunk = self._chunks.setdefault(number, bytearray(_CHUNK // 8))
        bit = 1 << (place & 7)
        if not chunk[place >> 3] & bit:
            chunk[place >> 3] |= bit
            self._count += 1

    def __contains__(self, offset: int) -> bool:
        number, place = divmod(offset, _CHUNK)
        chunk = self._chunks.get(number)
        return chunk is not None and bool(chunk[place >> 3] & 1 << (place & 7))

    def __len__(self) -> int:
        return self._count
