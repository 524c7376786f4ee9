"""approval: archives approvals with their form, tasks and files, and runs the action of their template.

An event means *fetch this instance*; ``prepare`` fetches it (under the guard of ``dingbridge/snapshots``),
and ``handle`` archives the event and the API's answer together. Not here: how an instance is fetched and
written (``fetcher.py``), what happens to event and document (``archive/``), when an action is called
(``actions/``), how files are fetched (``files/``), and what is compared without an event (``reconcile/``).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import MetaData, select

from dingbridge import Consumer, Context, Event, Forgotten, Person, Reader, Retry, Table, Transaction
from dingbridge.availability import own_delay_s
from dingbridge.consumers.approval import report
from dingbridge.consumers.approval.actions.declaration import Action, forgets_of, load_actions
from dingbridge.consumers.approval.actions.runner import ActionRunner
from dingbridge.consumers.approval.archive.document import ENDS
from dingbridge.consumers.approval.archive.forgetting import forget
from dingbridge.consumers.approval.archive.writer import Archive
from dingbridge.consumers.approval.fetcher import Fetched, Fetcher, NotAtEnd, kinds_of
from dingbridge.consumers.approval.files.downloads import Downloads
from dingbridge.consumers.approval.files.store import FileStore
from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.approval.process_codes import ProcessCodes
from dingbridge.consumers.approval.queues.fetches import fetch_later
from dingbridge.consumers.approval.reconcile.refetch import Refetch
from dingbridge.consumers.approval.reconcile.requests import RequestedResyncs, ResyncRequest, save
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.approval.tables import KIND, approval_instances, guard, metadata
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.budget import Priority
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.kafka.topic_policy import RESYNC
from dingbridge.logging import excerpt
from dingbridge.snapshots import FetchAttempt
from dingbridge.snapshots.late_answers import LOOK_AGAIN_S, look_again_s
from dingbridge.worker.supervise import retry_until_available

log = structlog.get_logger(__name__)


_LATE = timedelta(seconds=sum(LOOK_AGAIN_S))
_LATE_FROM = 6
"""The delays of attempts go on from the minute of the last look: 2, 4, 8 … minutes."""


class Approval(Consumer):
    """The archive of approvals. ``actions`` by process code; ``APPROVAL_ACTIONS`` names them unless given."""

    name: ClassVar[str] = "approval"
    topics: ClassVar[Sequence[str]] = ("bpms_instance_change", "bpms_task_change")
    control_topics: ClassVar[Sequence[str]] = (RESYNC,)
    metadata: ClassVar[MetaData | None] = metadata
    migrations: ClassVar[str | None] = "dingbridge.consumers.approval.migrations"

    fetcher: Fetcher
    """Set by ``start``."""

    def __init__(self, actions: Mapping[str, Action] | None = None) -> None:
        # before the tables are created: the actions' module may add its own to our metadata
        self._own = ApprovalSettings.load()
        self.actions = load_actions(self._own.approval_actions) if actions is None else actions
        self.metrics = ApprovalMetrics()
        self._looks: dict[str, int] = {}
        """How often the instance of an event that waits for a retry was looked at, by event id."""

    async def start(self) -> None:
        _ = self.dingtalk  # nearly every event needs it: fail now, with the remedy, not at the first event
        self.metrics = ApprovalMetrics(self.registry)
        self.open_archive()
        log.info(
            "approval.actions", process_codes=sorted(self.actions), files=self._own.archive_dir is not None
        )

    def open_archive(self) -> None:
        """Make ``fetcher``, without what the consumer does beside events: for commands that write to it."""
        zone = ZoneInfo(self.settings.dingtalk_timezone)
        runner = ActionRunner(self.actions, zone, self.metrics)
        self.fetcher = Fetcher(self.database, Archive(zone), runner, ProcessCodes(), self.metrics)

    def client_of(self, app: str, corp_id: str) -> DingTalkClient:
        """The client for work beside the events: when the month's calls run short, events' calls come
        first."""
        return self.dingtalk_of(app, corp_id).at(Priority.RESYNC)

    async def background(self) -> None:
        """Download attachments, fetch outdated documents again, and do requested resyncs, side by side."""
        files = Downloads(self.fetcher, self.client_of, self._own)
        never = asyncio.Event()
        compared = self.metrics.compared.set_to_current_time
        resyncs = RequestedResyncs(self.fetcher, self.client_of, on_compared=compared)
        await asyncio.gather(
            retry_until_available(files.run, self.name, never),
            retry_until_available(Refetch(self.fetcher, self.client_of).run, self.name, never),
            retry_until_available(resyncs.run, self.name, never),
        )

    def fetches(self, event: Event) -> str | None:
        return event.subject or None

    async def prepare(self, event: Event, ctx: Context) -> Fetched | ResyncRequest | None:
        """Fetch the instance that ``event`` names, if it is at its end."""
        if event.type == RESYNC_REQUESTED:
            if event.data.get("part") == "contacts":
                return None
            return ResyncRequest.of(event)
        instance_id = event.subject
        if not instance_id:  # the bridge asks for a comparison, too
            log.warning("approval.event_without_ids", event_type=event.event_type, event_id=excerpt(event.id))
            return None
        events = ctx.together or (event,)
        attempt = await guard.begin(ctx.db, event.corp_id, KIND, instance_id)
        if not await self._ask(events, attempt, ctx.db):
            return await self.fetcher.unasked(event.app, attempt, ctx.db, events)
        try:
            fetched = await self.fetcher.fetch(ctx.dingtalk, event.app, attempt, ctx.db, events)
        except NotAtEnd:
            raise self._not_yet(event, ctx) from None
        return self._believed(fetched, event, ctx) if fetched.contradicted else fetched

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if isinstance(prepared, ResyncRequest):
            await save(tx, prepared, event)
        elif prepared is not None:
            written = await self.fetcher.write(tx, prepared)
            comments = any(one.data.get("type") == "comment" for one in prepared.events)
            if prepared.asked and comments and not written.changed:
                # the answer is older than the comment, whose files only a document has
                key = {"corp_id": event.corp_id, "instance_id": prepared.attempt.entity_id}
                await fetch_later(tx, key, prepared.app, after_s=LOOK_AGAIN_S[0], looks=1)

    async def show(self, db: Reader) -> list[Table]:
        return await report.tables(db)

    async def forget(self, person: Person, tx: Transaction) -> Forgotten:
        path_of = None if self._own.archive_dir is None else FileStore(self._own.archive_dir).path
        found = await forget(tx, person, Archive(ZoneInfo(self.settings.dingtalk_timezone)), path_of)
        deleted = dict(found.deleted)
        for own in () if person.after else forgets_of(self.actions):
            deleted |= await own(person, tx)
        return replace(found, deleted=deleted)

    def _not_yet(self, event: Event, ctx: Context) -> Retry:
        """When to fetch again an instance that ended by its event, and that DingTalk does not show at its
        end. The event alone is never enough: the action would run on a form that nobody approved.
        """
        reason = "DingTalk does not show the approval at its end yet"
        if len(ctx.together) > 1:
            return Retry(reason, counts=False)  # the first of them is tried alone, at once
        wait = self._refetch_after_s(event) if ctx.attempt == 1 else None
        if wait is None:
            return Retry(reason, after=own_delay_s(_LATE_FROM + ctx.attempt))
        return Retry(reason, after=wait, counts=False)

    def _believed(self, fetched: Fetched, event: Event, ctx: Context) -> Fetched:
        """``fetched`` without the events that take the approval back, though DingTalk still shows it as
        approved after 2, 10 and 60 s. Raises ``Retry`` until then."""
        alone = len(ctx.together) <= 1
        wait = self._refetch_after_s(event) if alone else None
        if wait is not None or not alone:
            raise Retry("DingTalk still shows the approval as approved", after=wait, counts=False)
        log.warning(
            "approval.event_contradicted", instance_id=event.subject, types=sorted(kinds_of(fetched.events))
        )
        return fetched.without_contradicted()

    def _refetch_after_s(self, event: Event) -> float | None:
        """How long to wait, in s, before the next fetch for an event that the answer does not agree with;
        None: it has been fetched often enough."""
        looks = self._looks.pop(event.id, 0) + 1
        wait = look_again_s(looks)
        if wait is not None:
            self._looks[event.id] = looks
        return wait

    async def _ask(self, events: Sequence[Event], attempt: FetchAttempt, db: Reader) -> bool:
        """Whether the document may have something new of these events, so that it must be fetched.

        A running instance's document is not archived. A deletion is asked about where an undo depends on it.
        An event of an unknown type has nothing to ask about. After its end a task's last record or a comment
        may still come. It needs no fetch if it reached the bridge before our last fetch began. A comment's
        file is in the document alone, and an answer may be old: there the fetch must have begun ``_LATE``
        after the comment. Both times are of our own clocks. Each fetch saved is one API call of the month's.
        """
        kinds = kinds_of(events)
        if not kinds.isdisjoint(ENDS) or ("delete" in kinds and await self.fetcher.acted_on(attempt, db)):
            return True
        last = attempt.last_fetch_at
        news = [
            event.received_time + (_LATE if event.data.get("type") == "comment" else timedelta(0))
            for event in events
            if event.event_type == "bpms_task_change"
        ]
        if not news or (last is not None and max(news) < last):
            return False
        columns = approval_instances.c
        ended = select(columns.instance_id).where(
            columns.corp_id == attempt.corp_id,
            columns.instance_id == attempt.entity_id,
            columns.outcome.is_not(None),
        )
        return await db.scalar(ended) is not None
