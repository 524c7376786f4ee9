"""A process that claims what waits in ``items`` at a database URL, and prints the key of each."""

import asyncio
import sys

from sqlalchemy import Column, Integer, MetaData, Table, Text

from dingbridge import open_database
from dingbridge.work_queue import WorkQueue, queue_columns, queue_index

metadata = MetaData()
items = Table(
    "items",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("note", Text),
    *queue_columns(),
    queue_index("ix_items_due"),
)


async def main(url: str) -> None:
    database, queue = open_database(url), WorkQueue(items)

    async def claim_all() -> None:
        while rows := await queue.claim(database, 3):
            for row in rows:
                print(row.number, flush=True)
                async with database.transaction() as tx:
                    assert await queue.done(tx, row)

    await asyncio.gather(*(claim_all() for _ in range(4)))
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
