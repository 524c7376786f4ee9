"""A set of offsets in little memory: a bit for each, whatever their number."""

_CHUNK = 8_192
"""Offsets in one piece of 1 KiB."""


class OffsetSet:
    """Offsets of one partition."""

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}

    def add(self, offset: int) -> None:
        number, place = divmod(offset, _CHUNK)
        chunk = self._chunks.setdefault(number, bytearray(_CHUNK // 8))
        chunk[place >> 3] |= 1 << (place & 7)

    def __contains__(self, offset: int) -> bool:
        number, place = divmod(offset, _CHUNK)
        chunk = self._chunks.get(number)
        return chunk is not None and bool(chunk[place >> 3] & 1 << (place & 7))
