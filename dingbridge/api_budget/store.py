"""What a place that keeps an app's budget can do, and how it says that it cannot."""

from typing import Final, Protocol

from dingbridge.errors import BridgeError

FURTHEST_S: Final = 60.0
"""No turn waits for longer, in s: a clock that was put back would stop all calls until it has caught up."""


class StoreFailed(BridgeError):
    """The store could not be read or written; the message says why, without its address."""


class Store(Protocol):
    """Counts and turns, by app. Every method raises ``StoreFailed``, within 5 s."""

    async def turn(self, app: str, api: str, gap_s: float) -> float:
        """Take the next turn of ``api``, ``gap_s`` after the one before; returns the s until it begins."""
        ...

    async def hold(self, app: str, api: str, wait_s: float) -> None:
        """Let no turn of ``api`` that is not taken yet begin for ``wait_s``."""
        ...

    async def count(self, app: str, month: str, priority: int, api: str, most: int | None) -> int | None:
        """Count one call; or, when ``month`` (``2026-11``) has ``most`` already (None: no limit), only return
        how many."""
        ...

    async def counts(self, app: str, month: str) -> list[tuple[int, str, int]]:
        """``(priority, api, calls)`` of a month."""
        ...

    async def forget(self, before: str) -> None:
        """Delete the months before this one."""
        ...

    async def close(self) -> None:
        """Close what is open; the next use opens it again."""
        ...
