"""approval: archives approvals with their form, tasks and files, and runs the action of their template.

An event only means *read this instance*: ``handle`` keeps it and makes the entity's row due, and
``background`` reads what is due, by the loop of ``dingbridge/mirror``. Not here: how an instance is read
(``instances.py``), what happens to event and document (``archive/``), when an action is called
(``actions/``), how files are fetched (``files/``), and what is read without an event (``resync.py``).
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import MetaData, Row

from dingbridge import Consumer, Event, Forgotten, Person, Reader, Table, Transaction
from dingbridge.consumers.approval import report
from dingbridge.consumers.approval.actions.declaration import Action, forgets_of, load_actions
from dingbridge.consumers.approval.actions.runner import ActionRunner
from dingbridge.consumers.approval.archive.forgetting import forget
from dingbridge.consumers.approval.archive.query import waiting_files
from dingbridge.consumers.approval.archive.writer import Archive
from dingbridge.consumers.approval.files.downloads import Downloads
from dingbridge.consumers.approval.files.store import FileStore
from dingbridge.consumers.approval.instances import Instances
from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.approval.resync import Resync
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.approval.tables import FILE, INSTANCE, TEMPLATE, entities, metadata
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.budget import Priority
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.kafka.topic_policy import RESYNC
from dingbridge.logging import excerpt
from dingbridge.mirror import Entities
from dingbridge.mirror.entities import COMPANY
from dingbridge.mirror.loop import MEASURE_EVERY_S, Loop, MirrorMetrics
from dingbridge.tasks import end
from dingbridge.work_queue import RECONCILE

log = structlog.get_logger(__name__)


class Approval(Consumer[None]):
    """The archive of approvals. ``actions`` by process code; ``APPROVAL_ACTIONS`` names them unless given."""

    name: ClassVar[str] = "approval"
    topics: ClassVar[Sequence[str]] = ("bpms_instance_change", "bpms_task_change")
    control_topics: ClassVar[Sequence[str]] = (RESYNC,)
    metadata: ClassVar[MetaData | None] = metadata
    migrations: ClassVar[str | None] = "dingbridge.consumers.approval.migrations"

    clock: Callable[[], float] = staticmethod(lambda: time.time())
    """Epoch s; a test may bring another."""

    def __init__(self, actions: Mapping[str, Action] | None = None) -> None:
        # before the tables are created: the actions' module may add its own to our metadata
        self.own = ApprovalSettings.load()
        self.actions = load_actions(self.own.approval_actions) if actions is None else actions

    @cached_property
    def metrics(self) -> ApprovalMetrics:
        return ApprovalMetrics(self.registry)

    @cached_property
    def entities(self) -> Entities:
        """What is read next. Without ``ARCHIVE_DIR`` files wait."""
        only = () if self.own.archive_dir is not None else (entities.c.kind != FILE,)
        return Entities(entities, lambda: self.clock(), *only)

    @cached_property
    def archive(self) -> Archive:
        return Archive(ZoneInfo(self.settings.dingtalk_timezone), self.entities)

    @cached_property
    def runner(self) -> ActionRunner:
        """Calls the actions."""
        return ActionRunner(self.actions, ZoneInfo(self.settings.dingtalk_timezone), self.metrics)

    @cached_property
    def instances(self) -> Instances:
        return Instances(self.entities, self.database, self.archive, self.runner, self.metrics)

    @cached_property
    def files(self) -> Downloads:
        return Downloads(self.entities, self.database, self.metrics, self.own)

    @cached_property
    def resync(self) -> Resync:
        compared = self.metrics.compared.set_to_current_time
        return Resync(self.entities, self.database, self.actions, on_done=compared)

    @cached_property
    def loop(self) -> Loop:
        """The reads of this process."""
        return Loop(self.entities, self.database, self._read, self._refused, lambda: self.clock())

    async def start(self) -> None:
        _ = self.dingtalk  # nearly every event needs it: fail now, with the remedy, not at the first event
        log.info(
            "approval.actions", process_codes=sorted(self.actions), files=self.own.archive_dir is not None
        )

    async def background(self) -> None:
        """Read what is due until cancelled. Raises ``DatabaseDown``, and ``DependencyUnavailable`` when the
        folder for files cannot be written."""
        if self.own.archive_dir is not None:
            await self.files.open_folder()
        if self.database.dialect == "sqlite":  # one process alone uses it: what is leased, the dead had
            async with self.database.transaction() as tx:
                await self.entities.queue.free(tx)
        tasks = [asyncio.create_task(self.loop.run()), asyncio.create_task(self._measure())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            await end(*tasks)

    async def _measure(self) -> None:
        metrics = MirrorMetrics(self.registry)
        while True:
            await metrics.measure(self.entities, self.database, (INSTANCE, FILE, TEMPLATE, COMPANY))
            self.metrics.attachments_waiting.set(await waiting_files(self.database.reader()))
            await asyncio.sleep(MEASURE_EVERY_S)

    async def handle(self, event: Event, tx: Transaction, prepared: None) -> None:
        if event.type == RESYNC_REQUESTED:
            if event.data.get("part") != "contacts":
                named = event.corp_id if event.corp_id != NO_CORP_ID else self.settings.own_company()
                await self.resync.requested(tx, event, self.settings.app_of(event.app), named)
            return
        if not event.subject:  # the bridge asks for a comparison, too
            log.warning("approval.event_without_ids", event_type=event.event_type, event_id=excerpt(event.id))
            return
        self.dingtalk_of(event.app, event.corp_id)  # raises Reject for an app that cannot be asked
        await self.instances.hear(tx, event, event.subject)

    async def _read(self, row: Row[Any]) -> bool:
        """Read the entity of ``row``; returns whether DingTalk was asked."""
        client: DingTalkClient = self.dingtalk_of(row.app, row.corp_id)
        if row.kind == FILE:
            return await self.files.read(row, client.at(Priority.RESYNC))
        # when the month's calls run short, events' calls come first, then files
        client = client.at(Priority.RECONCILE) if row.priority == RECONCILE else client
        if row.kind == INSTANCE:
            return await self.instances.read(row, client)
        return await self.resync.read(row, client)

    async def _refused(self, row: Row[Any], code: str, again_s: float) -> None:
        parts = {FILE: self.files.refused, INSTANCE: self.instances.refused}
        await parts.get(row.kind, self.resync.refused)(row, code, again_s)

    async def look_due(self) -> int:
        """Read what is due by ``clock``, as ``background`` does; returns how many reads that was. For
        tests."""
        return await self.loop.run_due()

    async def show(self, db: Reader) -> list[Table]:
        return await report.tables(db)

    async def forget(self, person: Person, tx: Transaction) -> Forgotten:
        path_of = None if self.own.archive_dir is None else FileStore(self.own.archive_dir).path
        found = await forget(tx, person, self.archive, path_of)
        deleted = dict(found.deleted)
        for own in () if person.after else forgets_of(self.actions):
            deleted |= await own(person, tx)
        return replace(found, deleted=deleted)
