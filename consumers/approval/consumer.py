"""approval: archives approvals with their form, tasks and files, and runs the action of their template.

An event says *look at this instance*; ``prepare`` fetches it (under the guard of ``dingbridge/snapshots``),
and ``handle`` archives what event and API say together. Not here: how an instance is fetched (``looks.py``),
what becomes of the two (``document.py``), how it is written (``archive.py``), when an action is called
(``effects.py``), and how files are fetched (``downloads.py``).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import MetaData, select, tuple_

from consumers.approval import report
from consumers.approval.actions import Action, load_actions
from consumers.approval.archive import Archive
from consumers.approval.codes import ProcessCodes
from consumers.approval.components import PARSER
from consumers.approval.downloads import Downloads
from consumers.approval.effects import Effects
from consumers.approval.looks import Looks, Seen
from consumers.approval.metrics import ApprovalMetrics
from consumers.approval.reconcile import Order, Reconciles, keep
from consumers.approval.second_looks import SecondLooks
from consumers.approval.settings import ApprovalSettings
from consumers.approval.tables import KIND, approval_instances, guard, metadata
from dingbridge import Consumer, Context, Event, Reader, Reject, Transaction
from dingbridge.dingtalk.budget import Priority
from dingbridge.error_location import error_location
from dingbridge.errors import BridgeError
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.snapshots import Snapshot
from dingbridge.worker.consumer import Table
from dingbridge.worker.supervise import retry_until_available

log = structlog.get_logger(__name__)


class Approval(Consumer):
    """The archive of approvals. ``actions`` by process code; ``APPROVAL_ACTIONS`` names them unless given."""

    name: ClassVar[str] = "approval"
    topics: ClassVar[Sequence[str]] = ("bpms_instance_change", "bpms_task_change")
    metadata: ClassVar[MetaData | None] = metadata
    migrations: ClassVar[str | None] = "consumers.approval.migrations"

    archive: Archive
    """Set by ``start``."""

    def __init__(self, actions: Mapping[str, Action] | None = None) -> None:
        # before the tables are created: the actions' module may add its own to our metadata
        self._own = ApprovalSettings.load()
        self.actions = load_actions(self._own.approval_actions) if actions is None else actions
        self._codes = ProcessCodes()
        self.metrics = ApprovalMetrics()

    async def start(self) -> None:
        _ = self.dingtalk  # nearly every event needs it: end in words now rather than at the first one
        self.metrics = ApprovalMetrics(self.registry)
        self.open_archive()
        log.info(
            "approval.actions", process_codes=sorted(self.actions), files=self._own.archive_dir is not None
        )

    def open_archive(self) -> None:
        """Make ``archive``, without what the consumer does beside events: for commands that write to it."""
        zone = ZoneInfo(self.settings.dingtalk_timezone)
        self.archive = Archive(
            Effects(self.actions, zone, self.metrics), zone, files=self._own.archive_dir is not None
        )

    @property
    def looks(self) -> Looks:
        """What looks at instances; ``database``, ``dingtalk`` and ``archive`` are set."""
        return Looks(self.database, self.dingtalk, self.archive, self._codes)

    async def background(self) -> None:
        """Read archived documents again that an older parser has read; then download attachments, ask again
        for documents that lag, and compare what was ordered; of these none waits for another."""
        await self.parse_again()
        # an event's own call comes first when the month's calls are short
        files = Downloads(self.database, self.dingtalk.at(Priority.RESYNC), self._own, self.metrics)
        never = asyncio.Event()
        await asyncio.gather(
            retry_until_available(files.run, self.name, never),
            retry_until_available(SecondLooks(self.looks).run, self.name, never),
            retry_until_available(Reconciles(self.looks.at(Priority.RESYNC)).run, self.name, never),
        )

    async def prepare(self, event: Event, ctx: Context) -> Seen | Order:
        """Look at the instance that ``event`` names, and ask the API for it if it is at its end."""
        db = ctx.db
        if event.type == RESYNC_REQUESTED:
            other_app = self.settings.concerns_another_app(event.app)
            return await Order.of(event, db, self._own.dingtalk_corp_id, other_app=other_app)
        instance_id = event.subject
        if not instance_id:
            raise Reject(f"{event.event_type} names no approval instance")
        look = await guard.snapshot(db, event.corp_id, KIND, instance_id)
        if event.event_type == "bpms_instance_change":
            asks = event.data.get("type") not in ("start", "delete")
        else:
            asks = await self._may_be_stale(event, look, db)
        if not asks:
            return Seen(look)
        looks = Looks(self.database, ctx.dingtalk, self.archive, self._codes)
        return await looks.fetch(look, event, db)

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if isinstance(prepared, Order):
            await keep(tx, prepared, event)
            return
        await self.looks.write(tx, prepared, event)

    async def show(self, db: Reader) -> list[Table]:
        return await report.tables(db)

    async def _may_be_stale(self, event: Event, look: Snapshot, db: Reader) -> bool:
        """Whether a task event can tell the archive something that only the document has.

        A running instance's document is not archived. Once it is at its end, a task's last record or a
        comment may follow, unless the event had reached the bridge before our last fetch began: then that
        fetch has seen it. Both times are clocks of ours, and each look that is spared is one API call of the
        month's.
        """
        if look.last_fetch_at is not None and event.received_time < look.last_fetch_at:
            return False
        columns = approval_instances.c
        ended = select(columns.instance_id).where(
            columns.corp_id == event.corp_id,
            columns.instance_id == look.entity_id,
            columns.outcome.is_not(None),
        )
        return await db.scalar(ended) is not None

    async def parse_again(self) -> None:
        """Read the archived documents again that an older parser has read. One that this parser cannot read
        stays as it is, until an event of its instance or the next start."""
        columns, db = approval_instances.c, self.database.reader()
        key = columns.corp_id, columns.instance_id
        outdated = select(*key).where(columns.parsed_with != PARSER).order_by(*key).limit(100)
        count, behind = 0, ("", "")
        while rows := (await db.execute(outdated.where(tuple_(*key) > behind))).all():
            for corp_id, instance_id in map(tuple, rows):
                behind = corp_id, instance_id
                look = await guard.snapshot(db, corp_id, KIND, instance_id)
                try:
                    async with self.database.transaction() as tx:
                        # an event of the instance that comes in between has it parsed anew, too
                        if await guard.try_claim(tx, look, fetched=False):
                            await self.archive.parse_again(
                                tx, {"corp_id": corp_id, "instance_id": instance_id}
                            )
                            count += 1
                except BridgeError:
                    raise
                except Exception as error:
                    log.error(
                        "approval.not_parsed",
                        instance_id=instance_id,
                        error=error_location(error, "consumers"),
                    )
        if count:
            log.info("approval.parsed_again", instances=count)
