"""${message[:1].upper()}${message[1:]}."""

import sqlalchemy as sa
from alembic import op
${"\n" + imports + "\n" if imports else ""}
revision = "${up_revision}"
down_revision = ${'"%s"' % down_revision if down_revision else None}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
