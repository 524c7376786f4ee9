"""Fetches approval instances through the Open API, and writes what was fetched, with the action it asks for.

Used for events and, at another priority, for refetches and resyncs. Not here: which
event asks for a fetch (``consumer.py``), what happens to what was fetched (``archive/``), and when an action
is called (``actions/``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import structlog
from sqlalchemy import select

from dingbridge import Database, Event, Reader, Transaction
from dingbridge.consumers.approval.actions.action_state import Known, WithoutEvent
from dingbridge.consumers.approval.actions.runner import ActionRunner
from dingbridge.consumers.approval.archive.document import ENDS, approved, at_end, missing_fields
from dingbridge.consumers.approval.archive.links import ancestors
from dingbridge.consumers.approval.archive.query import whole
from dingbridge.consumers.approval.archive.writer import Archive
from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.approval.process_codes import ProcessCodes
from dingbridge.consumers.approval.rights import MissingRights
from dingbridge.consumers.approval.tables import KIND, approval_actions, approval_instances, guard
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.error_codes import means_not_there
from dingbridge.dingtalk.errors import ApiError, Unavailable
from dingbridge.snapshots import FetchAttempt
from dingbridge.snapshots.coerce import as_text

log = structlog.get_logger(__name__)

TAKE_BACK = frozenset({"terminate", "delete"})
"""The types of event that take an approval back."""

ClientOf = Callable[[str, str], DingTalkClient]
"""The Open API's client for an app's name and a company's corpId, at the priority of a resync."""


class Ended(NamedTuple):
    """How a write ended: whether the document ``changed``, and whether an action or undo ``failed``."""

    changed: bool
    failed: bool


class NotAtEnd(Exception):
    """An event reports the instance's end, and DingTalk's answer does not have it yet."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One instance as fetched. ``document`` is None when the API does not know it, or was not asked
    (``asked``).

    ``app`` is the DingTalk app of the event or of the call; ``events`` are those that caused the fetch.
    ``mains`` are the instances that this one changes or takes back: their actions may be undone.
    ``contradicted``: an event takes the approval back, and the document does not.
    """

    attempt: FetchAttempt
    app: str
    document: Mapping[str, Any] | None = None
    asked: bool = False
    process_code: str | None = None
    mains: tuple[FetchAttempt, ...] = ()
    events: tuple[Event, ...] = ()
    contradicted: bool = False

    def without_contradicted(self) -> "Fetched":
        """The same without the events that the document contradicts."""
        kept = (event for event in self.events if not kinds_of([event]) & TAKE_BACK)
        return replace(self, events=tuple(kept), contradicted=False)


@dataclass(frozen=True, slots=True)
class Fetcher:
    """What fetching and writing need of one consumer process."""

    database: Database
    archive: Archive
    actions: ActionRunner
    codes: ProcessCodes
    metrics: ApprovalMetrics
    rights: MissingRights = field(default_factory=MissingRights)

    async def fetch(
        self,
        client: DingTalkClient,
        app: str,
        attempt: FetchAttempt,
        db: Reader,
        events: tuple[Event, ...] = (),
        *,
        by_title: bool = False,
    ) -> Fetched:
        """Ask ``client``, which is the app ``app``, for the instance of ``attempt``, because of ``events``.
        With events, or with ``by_title``, its template is looked up by its title if nothing names it.

        Raises ``NotAtEnd`` if an event reports the end and the answer does not have it. Raises ``ApiError``,
        also for an unknown code, which does not mean "not there", and for an answer that is no document: the
        event is retried, and becomes a dead letter in the end.
        """
        instance_id = attempt.entity_id
        document: Mapping[str, Any] | None = None
        try:
            document = await client.approval(instance_id)
        except ApiError as error:
            if not means_not_there(error):
                self.rights.note(app, error)
                raise
            log.warning("approval.not_at_api", instance_id=instance_id, code=error.code)
        # Invariant 8: half an answer is a failure of this instance, not an approval with an empty form
        if document is not None and (missing := missing_fields(document)):
            raise Unavailable(
                f"DingTalk {INSTANCES}: the answer lacks {', '.join(missing)}. Try again later; if it stays, "
                "look at this approval in DingTalk.",
                api=INSTANCES,
                about="entity",
            )
        code = None
        kinds = kinds_of(events)
        shown_at_end = at_end(document)
        has_end = not shown_at_end and bool(kinds) and await self.has_end(attempt, db)
        ends = (
            not kinds.isdisjoint(ENDS) and "delete" not in kinds
        )  # a deleted one may never be seen at its end
        if ends and not (shown_at_end or has_end):
            columns = approval_instances.c
            deleted = select(columns.instance_id).where(
                columns.corp_id == attempt.corp_id,
                columns.instance_id == instance_id,
                columns.deleted_at.is_not(None),
            )
            if await db.scalar(deleted) is None:  # else DingTalk never has its end, and nothing is booked
                raise NotAtEnd
        if events or by_title:
            code = await self._process_code(client, app, events, attempt, document, db)
        mains = await _mains(attempt, document, db)
        # Invariant 8: an undo, too, needs DingTalk's own word. An answer that is older than ours is none.
        still_there = approved(document) or (document is not None and has_end)
        contradicted = still_there and not kinds.isdisjoint(TAKE_BACK)
        return Fetched(attempt, app, document, True, code, mains, events, contradicted)

    async def has_end(self, attempt: FetchAttempt, db: Reader) -> bool:
        """Whether the archive has the document of the instance's end."""
        return bool(await whole(db, attempt.corp_id, [attempt.entity_id]))

    async def acted_on(self, attempt: FetchAttempt, db: Reader) -> bool:
        """Return whether the action of the instance ran and is not undone."""
        columns = approval_actions.c
        state = select(columns.state).where(
            columns.corp_id == attempt.corp_id, columns.instance_id == attempt.entity_id
        )
        return Known(await db.scalar(state)).effective

    async def unasked(
        self, app: str, attempt: FetchAttempt, db: Reader, events: tuple[Event, ...] = ()
    ) -> Fetched:
        """What is written without a call to DingTalk."""
        return Fetched(attempt, app, mains=await _mains(attempt, None, db), events=events)

    async def write(
        self,
        tx: Transaction,
        fetched: Fetched,
        *,
        without_event: WithoutEvent = "none",
        tolerant: bool = False,
    ) -> Ended:
        """Archive what was fetched and settle its action. ``without_event`` and ``tolerant`` as
        ``ActionRunner.settle_family``. Raises ``Conflict`` when another fetch was written meanwhile."""
        attempt = fetched.attempt
        key = {"corp_id": attempt.corp_id, "instance_id": attempt.entity_id}
        await guard.claim(tx, attempt, fetched=fetched.asked)
        for main in fetched.mains:
            # else two transactions that do not see each other could both miss that one revokes the other
            await guard.claim(tx, main, fetched=False)
        written = await self.archive.write(
            tx,
            key,
            app=fetched.app,
            new_events=fetched.events,
            document=fetched.document,
            process_code=fetched.process_code,
        )
        if written.true_utc:
            self.metrics.true_utc_times.inc()
            log.warning("approval.times_are_utc", instance_id=attempt.entity_id)
        settled = await self.actions.settle_family(
            tx,
            key,
            written.stored,
            new_outcome=written.new_outcome,
            without_event=without_event,
            tolerant=tolerant,
        )
        return Ended(written.new_document, settled.failed)

    async def _process_code(
        self,
        client: DingTalkClient,
        app: str,
        events: tuple[Event, ...],
        attempt: FetchAttempt,
        document: Mapping[str, Any] | None,
        db: Reader,
    ) -> str | None:
        """The template's code where neither these events nor the archive have it."""
        if any(event.data.get("processCode") for event in events):
            return None
        columns = approval_instances.c
        known = select(columns.process_code).where(
            columns.corp_id == attempt.corp_id, columns.instance_id == attempt.entity_id
        )
        if await db.scalar(known):
            return None
        titles = [(document or {}).get("title"), *(event.data.get("title") for event in events)]
        title = as_text(next(filter(None, titles), None))
        return await self.codes.of_title(client, attempt.corp_id, title, lambda e: self.rights.note(app, e))


def kinds_of(events: Sequence[Event]) -> set[str]:
    """The ``type`` of each instance event: start, finish, terminate, delete, or one not known today."""
    return {str(event.data.get("type")) for event in events if event.event_type == "bpms_instance_change"}


async def _mains(
    attempt: FetchAttempt, document: Mapping[str, Any] | None, db: Reader
) -> tuple[FetchAttempt, ...]:
    """The instances that the instance of ``attempt`` changes or takes back."""
    ids = await ancestors(db, attempt.corp_id, attempt.entity_id, document)
    return tuple([await guard.begin(db, attempt.corp_id, KIND, id_) for id_ in ids])
