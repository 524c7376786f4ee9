"""Whether the tables that a consumer's migrations make are those of its code."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from dingbridge import Consumer, Database
from dingbridge.migrations.upgrade import upgrade, version_table


async def differences(database: Database, consumer: type[Consumer], metadata: MetaData) -> list[Any]:
    """Migrate, with the migrations alone; return what Alembic would still change to arrive at ``metadata``,
    leaving aside tables that are not in it."""

    def compare(connection: Connection) -> list[Any]:
        upgrade(connection, consumer)
        options = {
            "compare_type": True,
            "version_table": version_table(consumer.name),
            "include_name": lambda name, kind, parents: kind != "table" or name in metadata.tables,
            # the table of an actions module, which any test may have loaded, is no migration's
            "include_object": lambda item, name, kind, reflected, other: name != "leave_ledger",
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.transaction() as tx:
        return await tx.connection.run_sync(compare)


async def revision(database: Database, consumer: type[Consumer]) -> str:
    """The revision that is written down."""
    found = await database.reader().scalar(text(f"SELECT version_num FROM {version_table(consumer.name)}"))
    return str(found)
