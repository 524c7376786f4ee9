"""approval: archives every approval that came to its end, and runs the action of its template.

An event says *look at this instance*; ``prepare`` fetches it (under the guard of ``consumers/mirror``), and
``handle`` archives what event and API say together. Not here: what becomes of the two (``document.py``), how
it is written and when an action is called (``archive.py``), and what an action is (``actions.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import MetaData, select

from consumers.approval import report
from consumers.approval.actions import Action, load_actions
from consumers.approval.archive import Archive
from consumers.approval.settings import ApprovalSettings
from consumers.approval.tables import approval_instances, guard, metadata
from consumers.mirror import Look
from consumers.runtime import Consumer, Event, Reader, Reject, Transaction
from consumers.runtime.consumer import Table
from dingtalk.errors import BadRequest, NotFound

log = structlog.get_logger(__name__)

UNFINISHED = frozenset({"NEW", "RUNNING"})


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at an instance. ``document`` is None when the API does not know it, or was not asked."""

    look: Look
    document: dict[str, Any] | None
    fetched: bool


class Approval(Consumer):
    """The archive of approvals. ``actions`` by process code; ``APPROVAL_ACTIONS`` names them unless given."""

    name: ClassVar[str] = "approval"
    topics: ClassVar[Sequence[str]] = ("bpms_instance_change", "bpms_task_change")
    metadata: ClassVar[MetaData | None] = metadata

    def __init__(self, actions: Mapping[str, Action] | None = None) -> None:
        # before the tables are created: the actions' module may add its own to our metadata
        self._actions = load_actions(ApprovalSettings.load().approval_actions) if actions is None else actions

    async def start(self) -> None:
        _ = self.dingtalk  # nearly every event needs it: end in words now rather than at the first one
        self._archive = Archive(self._actions, ZoneInfo(self.settings.dingtalk_timezone))
        log.info("approval.actions", process_codes=sorted(self._actions))

    async def prepare(self, event: Event, db: Reader) -> Seen | None:
        """Look at the instance that ``event`` names; None when the event asks for nothing."""
        instance_id = event.subject
        if not instance_id:
            raise Reject(f"{event.event_type} names no approval instance")
        kind = event.data.get("type")
        if event.event_type == "bpms_instance_change" and kind == "start":
            return None
        look = await guard.look(db, event.corp_id, "approval", instance_id)
        if event.event_type == "bpms_instance_change" and kind == "delete":
            return Seen(look, None, fetched=False)
        if event.event_type == "bpms_task_change" and not await self._may_be_stale(event, look, db):
            return None
        document: dict[str, Any] | None = None
        try:
            document = await self.dingtalk.approval(instance_id)
        except (NotFound, BadRequest) as error:
            log.warning("approval.not_at_api", instance_id=instance_id, errcode=error.errcode)
        if document is not None and document.get("status") in UNFINISHED:
            log.warning("approval.api_lags", instance_id=instance_id, event_id=event.id)
        return Seen(look, document, fetched=True)

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if not isinstance(prepared, Seen):
            return
        await guard.claim(tx, prepared.look, fetched=prepared.fetched)
        await self._archive.write(tx, event, prepared.look.entity_id, prepared.document)

    async def show(self, db: Reader) -> list[Table]:
        return await report.tables(db)

    async def _may_be_stale(self, event: Event, look: Look, db: Reader) -> bool:
        """Whether a task event can tell the archive something new.

        A running instance is not archived. Once it is, a task's last record or a comment may follow, unless
        the event had reached the bridge before our last fetch began: then that fetch has seen it. Both
        times are clocks of ours, and each look that is spared is one API call of the month's.
        """
        if look.last_fetch_at is not None and event.received_time < look.last_fetch_at:
            return False
        columns = approval_instances.c
        archived = select(columns.instance_id).where(
            columns.corp_id == event.corp_id,
            columns.instance_id == look.entity_id,
            columns.outcome.is_not(None),
        )
        return await db.scalar(archived) is not None
