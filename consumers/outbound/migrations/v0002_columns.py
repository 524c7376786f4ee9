"""Adds what the tables of release 0.1.0 lack. Columns that the code no longer has stay, and are empty."""

from alembic import op

from dingbridge.consumers.outbound.requests import tables as _requests_too  # noqa: F401 - of the same metadata
from dingbridge.consumers.outbound.tables import metadata
from dingbridge.migrations.lacking_columns import lacking

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for statement in lacking(op.get_bind(), metadata.tables.values()).statements:
        op.execute(statement)
