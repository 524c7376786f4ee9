"""A cache of what follows from the names in a payload: payloads of one type mostly hold the same names in the
same order, and are of few companies. It is bounded, since the names come from outside. Pure.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Names = tuple[str, ...]
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_ENTRIES = 1_000
_CHARACTERS = 2_000
"""Longer names together than this are worked out each time."""


class BoundedCache(dict[Key, Value], Generic[Key, Value]):
    """``remembered[key]`` is ``make(key)``, made once; ``names_of`` are the payload's names in a key."""

    def __init__(self, make: Callable[[Key], Value], names_of: Callable[[Key], Names]) -> None:
        super().__init__()
        self._make, self._names_of = make, names_of

    def __missing__(self, key: Key) -> Value:
        value = self._make(key)
        if sum(map(len, self._names_of(key))) <= _CHARACTERS:
            if len(self) >= _ENTRIES:
                self.clear()
            self[key] = value
        return value
