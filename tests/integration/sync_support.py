"""address-sync's tables against the simulator's company, row by row: what the tests of full syncs share."""

from dingbridge.consumers.address_sync.sync.tables import runs
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from dev.benchmarks.large.compare import differences
from dingbridge import Database
from dingbridge.consumers.address_sync.tables import details
from dingbridge.worker.store.errors import is_missing_table

__all__ = ["differences", "ended"]


async def ended(database: Database) -> list[tuple[str, str]]:
    """Cause and state of every run that has ended, the oldest first; none before the tables are there, and
    while details are pending."""
    statement = select(runs.c.cause, runs.c.state).where(runs.c.ended_at.is_not(None))
    try:
        if await database.reader().scalar(select(details.c.userid).limit(1)) is not None:
            return []
        found = await database.reader().execute(statement.order_by(runs.c.began_at))
    except DBAPIError as error:
        if not is_missing_table(error):
            raise
        return []
    return [(row.cause, row.state) for row in found]
