"""The first tables, as the code has them."""

from alembic import op

from dingbridge.consumers.approval.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
