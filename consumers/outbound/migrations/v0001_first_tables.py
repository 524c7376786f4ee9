"""The first tables, as the code has them."""

from alembic import op

from dingbridge.consumers.outbound.requests import tables as _requests_too  # noqa: F401 - of the same metadata
from dingbridge.consumers.outbound.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
