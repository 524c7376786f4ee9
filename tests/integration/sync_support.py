"""address-sync's tables against the simulator's company, row by row: what the tests of full syncs share."""

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from dingbridge import Database
from dingbridge.consumers.address_sync.tables import entities
from dingbridge.mirror.entities import COMPANY
from dingbridge.worker.store.errors import is_missing_table
from tests.support.address_sync_tables import differences

__all__ = ["differences", "synced_ms"]


async def synced_ms(database: Database) -> int:
    """When the last full sync was done, epoch ms; 0: none is done, or one is open."""
    c = entities.c
    done = select(c.read_ms).where(c.kind == COMPANY, c.run_ms.is_(None), c.reported_ms.is_(None))
    try:
        return await database.reader().scalar(done) or 0
    except DBAPIError as error:
        if not is_missing_table(error):
            raise
        return 0
