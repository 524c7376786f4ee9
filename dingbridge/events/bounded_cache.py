"""A cache of what follows from the names in a payload: payloads of one type mostly hold the same names in the
same order. It is bounded, since the names come from outside. Pure.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

Names = tuple[str, ...]
Key = TypeVar("Key", bound=tuple[object, ...])
Value = TypeVar("Value")

_ENTRIES = 1_000
_CHARACTERS = 2_000
"""Longer names together than this are worked out each time."""


class BoundedCache(dict[Key, Value], Generic[Key, Value]):
    """``remembered[…, names]`` is ``make(…, names)``, made once; ``names`` are the key's last part."""

    def __init__(self, make: Callable[..., Value]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Key) -> Value:
        value = self._make(*key)
        names = key[-1]
        assert isinstance(names, tuple)  # noqa: S101 - by contract
        if sum(map(len, names)) <= _CHARACTERS:
            if len(self) >= _ENTRIES:
                self.clear()
            self[key] = value
        return value
