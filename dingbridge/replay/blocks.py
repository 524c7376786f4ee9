"""The blocked keys of one consumer, for the commands: read from its database, replayed, waited for.

The rules are ``dingbridge/worker/blocked.py``'s; here they are called from outside of the consumer's process.
"""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sqlalchemy.exc import DBAPIError

from dingbridge.errors import BridgeError
from dingbridge.settings import ConsumerSettings
from dingbridge.worker import blocked
from dingbridge.worker.blocked import Blocked
from dingbridge.worker.store.database import Database, open_database
from dingbridge.worker.store.errors import DatabaseDown, is_missing_table

POLL_S = 0.1


class Blocks:
    """``async with Blocks(settings, consumer) as blocks``; entering never fails.

    ``unknown`` says in words why the table cannot be read, None if it can; in a database without the table no
    key is blocked.
    """

    def __init__(self, settings: ConsumerSettings, consumer: str) -> None:
        self._settings, self._consumer = settings, consumer
        self._database: Database | None = None
        self.unknown: str | None = None
        self.rows: dict[str, Blocked] = {}
        """By blocking id."""

    async def __aenter__(self) -> Self:
        try:
            self._database = open_database(self._settings.database_url_for(self._consumer), create=False)
            await self.refresh()
        except DBAPIError as error:
            if not is_missing_table(error):
                self.unknown = f"the consumer's database refuses to be read ({type(error.orig).__name__})"
        except BridgeError as error:
            self.unknown = str(error)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._database is not None:
            await self._database.close()

    def need(self) -> Database:
        """The database. Raises ``BridgeError`` where it cannot be read."""
        if self._database is None or self.unknown is not None:
            raise BridgeError(
                f"which keys of {self._consumer} are blocked stands in its database, and {self.unknown}; set "
                "DATABASE_URL (or DATA_DIR) as the consumer has it"
            )
        return self._database

    async def refresh(self) -> None:
        """Read all blocked keys again. Raises ``DatabaseDown`` or the database's own error."""
        if self._database is not None:
            found = await blocked.blocked(self._database.reader(), self._consumer)
            self.rows = {row.blocking_id: row for row in found}

    async def begin_replay(self, rows: Sequence[Blocked], replay_id: str) -> list[Blocked]:
        """Let the letters of these keys pass; returns the rows of those that are still blocked."""
        database, found = self.need(), []
        for row in rows:
            async with database.transaction() as tx:
                begun = await blocked.begin_replay(tx, self._consumer, row.key, replay_id)
            if begun is not None and begun.blocking_id == row.blocking_id:
                found.append(begun)
        return found

    async def wait_for(self, sent_to: dict[str, int], replay_id: str, until: float) -> None:
        """Wait until something happens to one of these blocks, or ``time.monotonic()`` is ``until``.

        ``sent_to``: by blocking id, the offset of the last letter that was sent. What happens is that a key
        is free, that its replay failed, or that further letters have come.
        """
        while time.monotonic() < until:
            try:
                await self.refresh()
            except DatabaseDown:
                await asyncio.sleep(POLL_S)
                continue
            for blocking_id, letter in sent_to.items():
                row = self.rows.get(blocking_id)
                if row is None or row.replay_id != replay_id or (row.last_letter or 0) > letter:
                    return
            await asyncio.sleep(POLL_S)

    async def skip(self, row: Blocked, letter: int) -> bool:
        """Give up the letters of a blocked key up to offset ``letter``; whether the key is then free."""
        async with self.need().transaction() as tx:
            return await blocked.skip(tx, self._consumer, row.key, letter)
