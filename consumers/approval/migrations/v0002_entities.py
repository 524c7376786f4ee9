"""Brings the tables of release 0.1.0 to one row for each entity.

What was queued is dropped, but for files: the next resync finds it anew.
"""

from alembic import op
from sqlalchemy import inspect, literal, select

from dingbridge.consumers.approval.tables import FILE, approval_attachments, entities, file_entity, metadata
from dingbridge.migrations.lacking_columns import lacking
from dingbridge.work_queue import RECONCILE

revision = "0002"
down_revision = "0001"

_OF_0_1_0 = ("resyncs", "fetches", "generations", "table_cells")
_QUEUE = ("due_ms", "priority", "leased_ms", "claims", "attempts", "failed_ms", "failing_since_ms")


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection)
    for statement in lacking(connection, metadata.tables.values()).statements:
        op.execute(statement)
    for name in _OF_0_1_0:
        op.drop_table(f"approval_{name}", if_exists=True)
    files = approval_attachments
    if "due_ms" not in {column["name"] for column in inspect(connection).get_columns(files.name)}:
        return
    op.drop_index(f"ix_{files.name}_due", files.name)
    for name in _QUEUE:
        op.drop_column(files.name, name)
    c, none = files.c, literal(0)
    file = file_entity(c.instance_id, c.attachment_id)
    due = (none, literal(RECONCILE), none, none, none, none, none)
    waits = select(c.corp_id, literal(FILE), file, c.app, *due).where(c.state == "waiting")
    columns = ("corp_id", "kind", "entity_id", "app", "due_ms", "priority", "leased_ms", "claims")
    connection.execute(entities.insert().from_select([*columns, "attempts", "reads", "settles_ms"], waits))
