"""Stores beside the consumers' databases. Each is an entry point of the group ``dingbridge.stores``, with
functions that copy it and put it back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

GROUP: Final = "dingbridge.stores"


@dataclass(frozen=True, slots=True)
class Store:
    """``save`` copies the store into a folder that it makes, beside running processes, and returns what that
    is, in lines for the operator; none: there is no store here. ``refusals``: in words why that folder cannot
    be put back now. ``restore`` does it, and returns what it did; called again after a kill, it goes on. Both
    raise ``BridgeError``."""

    save: Callable[[Path], list[str]]
    refusals: Callable[[Path], list[str]]
    restore: Callable[[Path], list[str]]


def stores(names: Iterable[str] | None = None) -> dict[str, Store]:
    """The stores by name (None: all that are installed)."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    wanted = found.keys() if names is None else names
    return {name: found[name].load() for name in sorted(wanted) if name in found}
