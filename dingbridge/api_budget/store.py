"""The statements that keep an app's budget: SQL that SQLite and PostgreSQL both understand.

Where they are run is ``file.py``'s and ``postgres.py``'s, with what the two databases do not share.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from dingbridge.errors import BridgeError

FURTHEST_S: Final = 60.0
"""No turn waits for longer, in s: a clock that was put back would stop all calls until it has caught up."""


class StoreFailed(BridgeError):
    """The store could not be read or written; the message says why, without its address."""


class Store(ABC):
    """Counts and turns, by app. Every method raises ``StoreFailed``, within 5 s."""

    prefix: ClassVar[str]
    """Of the names of its tables, ``calls`` and ``turns``."""
    now: ClassVar[str]
    """The SQL of its clock's epoch s."""
    count_one: ClassVar[str]
    """Counts a call of app ``$1`` in month ``$2`` at priority ``$3`` of API ``$4``, and returns a row; none
    where the month has ``$5`` already (NULL: no limit)."""
    of_months: ClassVar[tuple[str, ...]]
    """The tables that have a month in each row."""

    async def turn(self, app: str, api: str, gap_s: float) -> float:
        """Take the next turn of ``api``, ``gap_s`` after the one before; returns the s until it begins."""
        sql = f"""
            INSERT INTO {self.prefix}turns AS t (app, api, next_s) VALUES ($1, $2, {self.now} + $3)
            ON CONFLICT (app, api) DO UPDATE SET next_s = $3 + CASE
                WHEN t.next_s BETWEEN {self.now} AND {self.now} + {FURTHEST_S} THEN t.next_s
                ELSE {self.now}
            END
            RETURNING next_s - $3 - {self.now}
        """  # noqa: S608 - our own names
        ((wait_s,),) = await self._run(sql, app, api, gap_s)
        return max(0.0, float(wait_s))

    async def hold(self, app: str, api: str, wait_s: float) -> None:
        """Let no turn of ``api`` that is not taken yet begin for ``wait_s``."""
        sql = f"""
            INSERT INTO {self.prefix}turns AS t (app, api, next_s) VALUES ($1, $2, {self.now} + $3)
            ON CONFLICT (app, api) DO UPDATE SET next_s = excluded.next_s WHERE excluded.next_s > t.next_s
        """  # noqa: S608 - our own names
        await self._run(sql, app, api, wait_s)

    async def count(self, app: str, month: str, priority: int, api: str, most: int | None) -> int | None:
        """Count one call; or, when ``month`` (``2026-11``) has ``most`` already (None: no limit), only return
        how many."""
        if await self._run(self.count_one, app, month, priority, api, most):
            return None
        return sum(calls for _, _, calls in await self.counts(app, month))

    async def counts(self, app: str, month: str) -> list[tuple[int, str, int]]:
        """``(priority, api, calls)`` of a month."""
        sql = f"SELECT priority, api, calls FROM {self.prefix}calls WHERE app = $1 AND month = $2"  # noqa: S608
        return [(priority, api, calls) for priority, api, calls in await self._run(sql, app, month)]

    async def forget(self, before: str) -> None:
        """Delete the months before this one."""
        for table in self.of_months:
            await self._run(f"DELETE FROM {table} WHERE month < $1", before)  # noqa: S608 - our own names

    @abstractmethod
    async def close(self) -> None:
        """Close what is open; the next use opens it again."""

    @abstractmethod
    async def _run(self, sql: str, *values: Any) -> Sequence[Sequence[Any]]:
        """The rows of one statement, a transaction of its own, with ``values`` for ``$1`` and so on."""
