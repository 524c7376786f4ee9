"""Brings the tables of release 0.1.0 to one row for each entity.

What its full syncs had still to do, the next full sync finds anew; the consumer begins it at its start.
"""

from alembic import op

from dingbridge.consumers.address_sync.tables import metadata
from dingbridge.migrations.lacking_columns import lacking

revision = "0002"
down_revision = "0001"

_OF_0_1_0 = ("runs", "todo", "staged", "details", "generations", "look_again")


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection)
    for statement in lacking(connection, metadata.tables.values()).statements:
        op.execute(statement)
    for name in _OF_0_1_0:
        op.drop_table(f"address_sync_{name}", if_exists=True)
