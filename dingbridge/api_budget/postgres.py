"""The budget in the PostgreSQL that all consumers share, on whatever hosts they run.

One connection for each process, every question one statement, and the time is the server's: hosts' clocks
differ by more than the gap between two calls.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from dingbridge.api_budget.store import Store, StoreFailed
from dingbridge.settings.database_url import parse_database_url, tls_of

_WITHIN_S: Final = 2.0
"""For an answer, in s; a call of DingTalk's API waits for it."""
_SCHEMA: Final = """
SELECT pg_advisory_xact_lock(1684631143);
CREATE TABLE IF NOT EXISTS dingbridge_api_calls (
    app text NOT NULL, month text NOT NULL, priority smallint NOT NULL, api text NOT NULL,
    calls bigint NOT NULL, PRIMARY KEY (app, month, priority, api)
);
CREATE TABLE IF NOT EXISTS dingbridge_api_months (
    app text NOT NULL, month text NOT NULL, calls bigint NOT NULL, PRIMARY KEY (app, month)
);
CREATE TABLE IF NOT EXISTS dingbridge_api_turns (
    app text NOT NULL, api text NOT NULL, next_s double precision NOT NULL, PRIMARY KEY (app, api)
) WITH (fillfactor = 10);
"""
"""Several statements in one string are one transaction. The lock is that of ``Transaction.lock_schema``."""


class PostgresStore(Store):
    """The database at ``url`` (``postgresql://…``), for one event loop."""

    prefix = "dingbridge_api_"
    now = "extract(epoch FROM clock_timestamp())::double precision"
    # the month has a row of its own, which this locks: several hosts spend no more than there is
    count_one = """
        WITH counted AS (
            INSERT INTO dingbridge_api_months AS m (app, month, calls)
            SELECT $1, $2, 1 WHERE $5::bigint IS NULL OR $5 > 0
            ON CONFLICT (app, month) DO UPDATE SET calls = m.calls + 1 WHERE $5 IS NULL OR m.calls < $5
            RETURNING 1
        )
        INSERT INTO dingbridge_api_calls AS c (app, month, priority, api, calls)
        SELECT $1, $2, $3, $4, 1 FROM counted
        ON CONFLICT (app, month, priority, api) DO UPDATE SET calls = c.calls + 1
        RETURNING 1
    """
    of_months = ("dingbridge_api_calls", "dingbridge_api_months")

    def __init__(self, url: str) -> None:
        """Connects nothing yet."""
        self._url = url
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _run(self, sql: str, *values: Any) -> Sequence[Sequence[Any]]:
        try:
            async with asyncio.timeout(2 * _WITHIN_S), self._lock:  # who waits for the others waits no longer
                try:
                    return [tuple(row) for row in await (await self._open()).fetch(sql, *values)]
                except BaseException:
                    await self.close()
                    raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            # no text: an address or a password may be in it
            raise StoreFailed(f"DATABASE_URL: {type(error).__name__}") from None

    async def _open(self) -> asyncpg.Connection:
        if self._connection is None:
            url = parse_database_url(self._url)
            connection = await asyncpg.connect(
                url.difference_update_query(["sslmode", "sslrootcert"]).render_as_string(hide_password=False),
                ssl=tls_of(url),
                timeout=_WITHIN_S,
                command_timeout=_WITHIN_S,
                # a crash of the server may cost the last counts, which DingTalk still knows
                server_settings={"application_name": "dingbridge budget", "synchronous_commit": "off"},
            )
            try:
                await connection.execute(_SCHEMA)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection
