"""Whether an event told when somebody left. Of those who left before it is unknown, and an event may tell."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "users",
        sa.Column("left_told", sa.Boolean, comment="left_at is what an event said, not when it was noticed"),
    )
