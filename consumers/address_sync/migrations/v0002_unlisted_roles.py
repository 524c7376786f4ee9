"""A role is deleted when two lists in a row lack it: when the first did."""

import sqlalchemy as sa
from alembic import op

from dingbridge import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    comment = "the last list of roles, read then, lacked it; NULL: had it"
    op.add_column("roles", sa.Column("unlisted_at", UtcDateTime, comment=comment))


def downgrade() -> None:
    op.drop_column("roles", "unlisted_at")
