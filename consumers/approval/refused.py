"""What was refused or given up, and asking for it again, for ``dingbridge approvals retry``."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, func, select, update

from dingbridge import Reader, Transaction
from dingbridge.consumers.approval.archive.attachments import WAITING
from dingbridge.consumers.approval.files.downloads import file_of
from dingbridge.consumers.approval.tables import FILE, approval_attachments, entities, file_entity
from dingbridge.mirror import Entities, Entity
from dingbridge.work_queue import ORDINARY

_c, _a = entities.c, approval_attachments.c


async def refused(db: Reader, reason: str | None = None) -> list[dict[str, Any]]:
    """The instances, files and templates that DingTalk or a server did not give; with ``reason``, those whose
    reason or code holds this text."""
    of_file = and_(
        _c.kind == FILE,
        _a.corp_id == _c.corp_id,
        file_entity(_a.instance_id, _a.attachment_id) == _c.entity_id,
    )
    words = func.coalesce(_a.reason, _c.code, "")
    found = select(_c.corp_id, _c.kind, _c.entity_id, _c.app, words.label("reason"))
    found = found.outerjoin_from(entities, approval_attachments, of_file).where(_c.state == "refused")
    if reason is not None:
        found = found.where(words.contains(reason, autoescape=True))
    rows = await db.execute(found.order_by(_c.kind, _c.entity_id))
    return [row._asdict() for row in rows]


async def ask_again(tx: Transaction, rows: Entities, found: Sequence[dict[str, Any]]) -> None:
    """Make each of ``found`` due."""
    for one in found:
        entity = Entity(one["corp_id"], one["kind"], one["entity_id"])
        values = {"state": None, "code": None, "reads": 0, **rows.queue.due(ORDINARY)}
        await tx.execute(update(entities).where(*rows.at(entity)).values(**values))
        if one["kind"] == FILE:
            file = update(approval_attachments).where(*file_of(entity))
            await tx.execute(file.values(state=WAITING, reason=None))
