"""The kind *instance*: which event makes an approval due, what is read of it, and when it is read again.

``hear`` keeps an event and makes the entity's row due (``dingbridge/mirror``). ``read`` asks DingTalk for the
document, archives it, and settles the action in the same transaction. An approval is believed at its end
only; an answer that is older than the events is asked for again after 2, 10 and 60 s and an hour. A document
at its end changes no more, so it is fetched once. Not here: what the rows are (``archive/``), and when an
action is called (``actions/``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row, select

from dingbridge import Conflict, Database, Event, Reader, Transaction
from dingbridge.availability import Availability
from dingbridge.consumers.approval.actions.action_state import Known
from dingbridge.consumers.approval.actions.runner import ActionRunner
from dingbridge.consumers.approval.archive.document import ENDS, Events, approved, at_end, missing_fields
from dingbridge.consumers.approval.archive.links import ancestors
from dingbridge.consumers.approval.archive.writer import Archive, Stored, stored
from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.approval.tables import INSTANCE, approval_actions
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.error_codes import means_not_there
from dingbridge.dingtalk.errors import ApiError, PermissionDenied, Unavailable
from dingbridge.mirror import Entities, Entity
from dingbridge.mirror.answers import Reported
from dingbridge.snapshots.late_answers import ABSENT_AGAIN_S, LOOK_AGAIN_S

log = structlog.get_logger(__name__)

TAKE_BACK: Final = ("terminate", "delete")
"""The types of event that take an approval back."""

AGAIN_S: Final = (*LOOK_AGAIN_S, ABSENT_AGAIN_S)
"""How long to wait, in s, after each answer that lacks what the events report. Then it is given up."""

_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Answer:
    """DingTalk's answer. ``document`` None: it was not asked, or does not have the instance; ``refused``: it
    does not show this one to the app, and why."""

    asked: bool = False
    document: Mapping[str, Any] | None = None
    refused: str | None = None


class Instances:
    """The approvals of one consumer process."""

    def __init__(
        self,
        entities: Entities,
        database: Database,
        archive: Archive,
        actions: ActionRunner,
        metrics: ApprovalMetrics,
    ) -> None:
        self._entities, self._database, self._archive = entities, database, archive
        self._actions, self._metrics = actions, metrics

    async def hear(self, tx: Transaction, event: Event, instance_id: str) -> None:
        """Keep ``event``, and read the instance if a document may have something new of it."""
        entity = Entity(event.corp_id, INSTANCE, instance_id)
        await self._entities.lock(tx, entity, event.app)
        key = {"corp_id": event.corp_id, "instance_id": instance_id}
        before = await self._archive.hear(tx, key, event)
        if (reported := _reported(event, before)) is not None:
            at_ms = round(event.time.timestamp() * 1000)
            await self._entities.report(tx, entity, event.app, reported, at_ms)

    async def read(self, row: Row[Any], client: DingTalkClient) -> bool:
        """Do what the row of an instance asks for; returns whether DingTalk was asked. Raises ``ApiError``,
        and ``Conflict`` when another process has the row."""
        db, began_ms = self._database.reader(), self._entities.now_ms()
        key = {"corp_id": row.corp_id, "instance_id": row.entity_id}
        known = await stored(db, key)
        acted_on = await _acted_on(db, key)
        answer = Answer()
        if _needs_document(row.reported, known, acted_on):
            answer = await self._ask(client, row.entity_id)
        document = answer.document
        contradicted = document is not None and _contradicts(document, known, acted_on)
        lacks_end = answer.asked and _lacks_end(document, known)
        unsure = contradicted or lacks_end or answer.refused is not None
        again_s = _again_s(row.reads, AGAIN_S) if unsure else None
        unknown = known.document is None and known.events.keys() <= set(ENDS)
        if (
            document is None and answer.refused is None and unknown
        ):  # an id that no start named: it costs one call
            again_s = None
        settled = {"reads": row.reads + 1, "read_ms": began_ms}
        async with self._database.transaction() as tx:
            if not await self._entities.queue.renew(tx, row):
                raise Conflict("another process has read this approval meanwhile")
            # Invariant 8: an event that came since is believed by an answer from after it alone
            if (now := await stored(tx, key)).events != known.events:
                raise Conflict("an event of this approval came meanwhile")
            if again_s is not None:
                due_ms = self._entities.now_ms() + round(again_s * 1000)
                await self._entities.settle(tx, row, due_ms, settled)
                return True
            not_there = answer.asked and document is None and known.document is None
            if lacks_end or answer.refused or (not_there and "delete" not in known.events):
                code = answer.refused or ("not_at_its_end" if document else "not_there")
                await self._give_up(tx, row, code, settled)
                return True
            if contradicted:
                log.warning("approval.event_contradicted", instance_id=row.entity_id)
            await self._write(tx, row, now, document, contradicted, settled)
        return answer.asked

    async def refused(self, row: Row[Any], code: str, again_s: float | None) -> None:
        """Leave the archive as it is; a command or a resync asks for the instance again."""
        async with self._database.transaction() as tx:
            await self._give_up(tx, row, code, {"reads": 0})

    async def _give_up(self, tx: Transaction, row: Row[Any], code: str, settled: dict[str, Any]) -> None:
        log.warning("approval.not_fetched", instance_id=row.entity_id, code=code)
        settled |= {"reported": None, "run_ms": None, "reads": 0}
        await self._entities.settle(tx, row, None, settled, state="refused", code=code)

    async def _ask(self, client: DingTalkClient, instance_id: str) -> Answer:
        try:
            document = await client.approval(instance_id)
        except PermissionDenied as error:
            if error.about != "entity":
                raise
            return Answer(True, refused=error.code or "refused")
        except ApiError as error:
            if not means_not_there(error):
                raise
            return Answer(True)
        # Invariant 8: half an answer is a failure of this instance, not an approval with an empty form
        if missing := missing_fields(document):
            raise Unavailable(
                f"DingTalk {INSTANCES}: the answer lacks {', '.join(missing)}. Try again later; if it stays, "
                "look at this approval in DingTalk.",
                api=INSTANCES,
                about="entity",
            )
        return Answer(True, document)

    async def _write(
        self,
        tx: Transaction,
        row: Row[Any],
        known: Stored,
        document: Mapping[str, Any] | None,
        contradicted: bool,
        settled: dict[str, Any],
    ) -> None:
        """Archive the answer, settle the action, and release the row."""
        # else two transactions that do not see each other could both miss that one revokes the other
        for main in await ancestors(tx, row.corp_id, row.entity_id, document):
            await self._entities.lock(tx, Entity(row.corp_id, INSTANCE, main), row.app)
        key = {"corp_id": row.corp_id, "instance_id": row.entity_id}
        written = await self._archive.write(
            tx,
            key,
            known,
            app=row.app,
            document=document,
            process_code=row.process_code,
            left_out=TAKE_BACK if contradicted else (),
        )
        if written.true_utc:
            self._metrics.true_utc_times.inc()
            log.warning("approval.times_are_utc", instance_id=row.entity_id)
        failed = await self._actions.settle_family(
            tx,
            key,
            written.stored,
            new_outcome=written.new_outcome,
            without_event="none" if row.run_ms is None else "since_first_event",
        )
        again_s = None
        if row.reported == "changed" and not written.new_document:  # the answer may be older than the event
            again_s = _again_s(row.reads, LOOK_AGAIN_S)
        due_ms = None if again_s is None else self._entities.now_ms() + round(again_s * 1000)
        more: dict[str, Any] = {"state": None, "code": None}
        if failed:  # the function is tried again for an hour, at no further call
            failure = self._entities.queue.failure(row, Availability(), own=True)
            failed_ms = failure.pop("due_ms")
            more |= failure
            due_ms = min(filter(None, (due_ms, failed_ms)), default=None)
        if due_ms is None:
            settled |= {"run_ms": None}
        if again_s is None:
            settled |= {"reported": None, "reported_ms": None, "reads": 0}
        await self._entities.settle(tx, row, due_ms, settled, **more)


def _again_s(reads: int, delays: Sequence[float]) -> float | None:
    """How long to wait, in s, before the next read, if ``reads`` came before this one; None: no more."""
    return delays[reads] if reads < len(delays) else None


def _reported(event: Event, before: Stored) -> Reported | None:
    """What ``event`` reports that must be read; ``before`` is what the archive had. Each read saved is one
    call of the month's. All times are DingTalk's, and so is the archive's end."""
    kind = str(event.data.get("type"))
    if event.event_type == "bpms_instance_change":
        return "absent" if kind in TAKE_BACK else "present" if kind in ENDS else None
    ended = (before.row or {}).get("finished_at")
    if ended is None or not at_end(before.document):
        return None  # the document of the end will have it
    # a comment's file is in a document alone; of a task its event has all
    return "changed" if event.time > (ended if kind == "comment" else ended + _MINUTE) else None


def _open(events: Events, known: Stored, acted_on: bool) -> bool:
    """Whether an event takes back what is in effect, and DingTalk has not confirmed it yet."""
    if "delete" in events and (known.row or {}).get("deleted_at") is None and acted_on:
        return True
    return "terminate" in events and approved(known.document)


def _needs_document(reported: Reported | None, known: Stored, acted_on: bool) -> bool:
    events = known.events
    if reported == "changed" or _open(events, known, acted_on):
        return True
    if at_end(known.document):
        return False
    return "delete" not in events or not events.keys().isdisjoint(ENDS)


def _contradicts(document: Mapping[str, Any], known: Stored, acted_on: bool) -> bool:
    """Invariant 8: an undo, too, needs DingTalk's own word; an answer that is older than ours is none."""
    older = at_end(known.document) and not at_end(document)
    return _open(known.events, known, acted_on) and (approved(document) or older)


def _lacks_end(document: Mapping[str, Any] | None, known: Stored) -> bool:
    """Whether the events report an end that neither this answer nor the archive has. A deleted instance may
    never be seen at its end."""
    if at_end(document) or at_end(known.document) or "delete" in known.events:
        return False
    return not known.events.keys().isdisjoint(ENDS)


async def _acted_on(db: Reader, key: Mapping[str, str]) -> bool:
    """Return whether the action of the instance ran and is not undone."""
    columns = approval_actions.c
    state = select(columns.state).where(*(columns[name] == value for name, value in key.items()))
    return Known(await db.scalar(state)).effective
