"""Writing an approval to the archive: instance, form, records, tasks, comments, files.

The caller holds the row of its entity. Not here: what happens to events and document (``document.py``,
``tasks.py``, ``attachments.py``), and the action of the template (``consumers/approval/actions``).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Table, delete, insert, select, update

from dingbridge import Event, Reader, Transaction
from dingbridge.consumers.approval.archive import document as rows_of
from dingbridge.consumers.approval.archive.attachments import attachment_rows
from dingbridge.consumers.approval.archive.document import Events, Row
from dingbridge.consumers.approval.archive.forgotten import forgotten_in
from dingbridge.consumers.approval.archive.links import linked_to
from dingbridge.consumers.approval.archive.masking import Hide
from dingbridge.consumers.approval.archive.tasks import comment_row, task_id, task_rows
from dingbridge.consumers.approval.archive.times import ApiClock
from dingbridge.consumers.approval.tables import (
    FILE,
    INSTANCE,
    approval_actions,
    approval_attachments,
    approval_comments,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_tasks,
    file_entity,
)
from dingbridge.mirror import Entities
from dingbridge.snapshots import replace_children, write_if_changed
from dingbridge.snapshots.coerce import as_json, as_text
from dingbridge.work_queue import ORDINARY, RECONCILE


@dataclass(frozen=True, slots=True)
class Stored:
    """What the archive has of an instance. ``row`` is None when it has nothing."""

    row: Mapping[str, Any] | None
    events: Events
    document: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Written:
    """An instance as the archive has it now. ``new_outcome``: the outcome was not known before.
    ``new_document``: its document differs from the one before. ``true_utc``: it differs and its times are
    UTC, which DingTalk's usually are not."""

    stored: Stored
    new_outcome: bool
    new_document: bool
    true_utc: bool


async def stored(db: Reader | Transaction, key: Row) -> Stored:
    """Read an instance of the archive."""
    where = _where(approval_instances, key)
    found = (await db.execute(select(approval_instances).where(*where))).mappings().one_or_none()
    if found is None:
        return Stored(None, {}, None)
    row: dict[str, Any] = {**found}
    document = None if row["raw_document"] is None else json.loads(row["raw_document"])
    return Stored(row, json.loads(row["raw_events"]), document)


_TEXTS: Final[tuple[tuple[Table, tuple[str, ...], str, str], ...]] = (
    (approval_comments, ("comment_id",), "userid", "content"),
    (approval_attachments, ("attachment_id",), "", "file_name"),
    (approval_actions, (), "", "reason"),
)
"""Tables beside what follows from events and document: key, id of a person, text of people's."""


async def task_events(db: Reader | Transaction, key: Row) -> dict[str, Events]:
    """The events of an instance's tasks, by task id."""
    columns = approval_tasks.c
    found = select(columns.task_id, columns.raw_events).where(*_where(approval_tasks, key))
    return {row.task_id: json.loads(row.raw_events) for row in await db.execute(found) if row.raw_events}


class Archive:
    """The archive of one consumer process. ``zone`` is that of times in forms; in ``entities`` what a write
    makes due."""

    def __init__(self, zone: ZoneInfo, entities: Entities) -> None:
        self._zone, self.entities = zone, entities

    async def hear(self, tx: Transaction, key: Row, event: Event) -> Stored:
        """Write what ``event`` alone adds; returns what the archive had before. Somebody who is forgotten is
        masked; an instance that nobody else took part in is left out.

        An event decides neither the outcome nor that the instance is deleted: a read of it does.
        """
        known = await stored(tx, key)
        hidden = await forgotten_in(tx, key, known.row, [event], None)
        if hidden.alone and known.row is None:
            return known
        before, data = known.row or {}, hidden.hide(dict(event.data))
        events, kind, changed = hidden.hide(known.events), str(event.data.get("type") or ""), False
        if event.event_type == "bpms_instance_change":
            events = rows_of.with_event(events, kind, _time_of(event), data)
        elif kind == "comment":
            comment = {**key, **comment_row(event.data, hidden.hide)}
            statement = tx.insert(approval_comments).values(comment).on_conflict_do_nothing()
            changed = (await tx.execute(statement)).rowcount == 1
        elif (task := task_id(event.data)) is not None:
            tasks: dict[str, Events] = hidden.hide(await task_events(tx, key))
            tasks[task] = rows_of.with_event(tasks.get(task, {}), kind, _time_of(event), data)
            clock = rows_of.clock_of(events, known.document)
            changed = await self._write_tasks(tx, key, tasks, known.document, clock)
        code = before.get("process_code") or as_text(event.data.get("processCode"))
        row = rows_of.instance_row(events, known.document, code) | {"app": before.get("app") or event.app}
        row |= {"deleted_at": before.get("deleted_at")}
        await write_if_changed(tx, approval_instances, key, row, at=datetime.now(UTC), touch=changed)
        return known

    async def write(
        self,
        tx: Transaction,
        key: Row,
        known: Stored,
        *,
        app: str,
        document: Mapping[str, Any] | None = None,
        process_code: str | None = None,
        left_out: Collection[str] = (),
    ) -> Written:
        """Write what ``document`` (None: the API has none) adds to ``known``, and believe the events but for
        the types ``left_out``. Somebody who is forgotten is masked; an instance that nobody else took part in
        is left out (``row`` None).

        ``app`` is the DingTalk app that was asked, ``process_code`` the template as it is known from
        elsewhere.
        """
        hidden = await forgotten_in(tx, key, known.row, (), document)
        if hidden.alone and known.row is None:
            return Written(known, new_outcome=False, new_document=False, true_utc=False)
        hide, as_fetched = hidden.hide, document
        document = hide(document)
        before = known.row or {}
        events = {kind: event for kind, event in hide(known.events).items() if kind not in left_out}
        if document is None or (rows_of.at_end(known.document) and not rows_of.at_end(document)):
            document = known.document  # deleted meanwhile, or an answer that is older than ours
        elif document != as_fetched and rows_of.at_end(known.document):
            document = known.document  # there the person's name is masked in other people's texts, too
        code = before.get("process_code") or process_code
        row = rows_of.instance_row(events, document, code) | {"app": before.get("app") or app}
        clock = rows_of.clock_of(events, document)
        tasks = hide(await task_events(tx, key))
        tasks_changed = await self._write_tasks(tx, key, tasks, document, clock)
        new_document = document is not None and as_json(known.document) != row["raw_document"]
        if document is not None and new_document:
            await self._write_parts(tx, key, document, clock)
            await self._write_attachments(tx, key, document, row["app"])
            await self._ask_unknown(tx, key["corp_id"], row, document)
        await write_if_changed(tx, approval_instances, key, row, at=datetime.now(UTC), touch=tasks_changed)
        return Written(
            Stored(row, events, document),
            new_outcome=before.get("outcome") != row["outcome"],
            new_document=new_document,
            true_utc=new_document and clock.true_utc,
        )

    async def _write_tasks(
        self,
        tx: Transaction,
        key: Row,
        events: Mapping[str, Events],
        document: Mapping[str, Any] | None,
        clock: ApiClock,
    ) -> bool:
        rows = task_rows(document, events, clock)
        return await replace_children(tx, approval_tasks, key, "task_id", rows)

    async def _ask_unknown(
        self, tx: Transaction, corp_id: str, row: Row, document: Mapping[str, Any]
    ) -> None:
        """Read the instances that ``document`` changes, or that change it, and that nothing else named. In a
        minute: mostly their own events come first. They have the template of this one."""
        ids, c = linked_to(document), approval_instances.c
        known = select(c.instance_id).where(c.corp_id == corp_id, c.instance_id.in_(ids))
        ids -= {one.instance_id for one in await tx.execute(known)} if ids else set()
        await self.entities.ask(
            tx,
            row["app"],
            corp_id,
            INSTANCE,
            ids,
            priority=ORDINARY,
            after_s=60.0,
            new_only=True,
            own={"process_code": row["process_code"]},
        )

    async def mask(
        self, tx: Transaction, key: Row, known: Stored, tasks: Mapping[str, Events], hide: Hide
    ) -> bool:
        """Write the instance ``known``, with the events of its ``tasks``, again with ``hide`` applied;
        whether anything changed."""
        before = known.row or {}
        events, document = hide(known.events), hide(known.document)
        row = rows_of.instance_row(events, document, before.get("process_code"))
        clock = rows_of.clock_of(events, document)
        changed = (events, document) != (known.events, known.document)
        if changed and document is not None:
            await self._write_parts(tx, key, document, clock)
        changed |= await self._write_tasks(tx, key, hide(tasks), document, clock)
        for table, id_, userid, name in _TEXTS:
            for one in (await tx.execute(select(table).where(*_where(table, key)))).mappings().all():
                as_now = {"userid": one.get(userid), "text": one[name]}
                if (masked := hide(as_now)) != as_now:
                    values = {name: masked["text"]} | ({userid: masked["userid"]} if userid else {})
                    where = (*_where(table, key), *(table.c[n] == one[n] for n in id_))
                    await tx.execute(update(table).where(*where).values(**values))
                    changed = True
        at = datetime.now(UTC)
        return await write_if_changed(tx, approval_instances, key, row, at=at, touch=changed)

    async def _write_parts(
        self, tx: Transaction, key: Row, document: Mapping[str, Any], clock: ApiClock
    ) -> None:
        parts: list[tuple[Table, list[Row]]] = [
            (approval_form_values, rows_of.form_rows(document, self._zone)),
            (approval_operations, rows_of.operation_rows(document, clock)),
        ]
        for table, rows in parts:
            await tx.execute(delete(table).where(*_where(table, key)))
            if rows:
                await tx.execute(insert(table), [{**key, **row} for row in rows])

    async def _write_attachments(
        self, tx: Transaction, key: Row, document: Mapping[str, Any], app: str
    ) -> None:
        found = attachment_rows(document, self._zone)
        rows = [{**key, "attachment_id": id_, "app": app, **row} for id_, row in found.items()]
        if not rows:
            return
        # a file that left the form stays in the archive, and what is downloaded stays so
        await tx.execute(tx.insert(approval_attachments).on_conflict_do_nothing(), rows)
        for row in rows:
            file = file_entity(key["instance_id"], row["attachment_id"])
            await self.entities.ask(
                tx, row["app"], key["corp_id"], FILE, [file], priority=RECONCILE, new_only=True
            )


def _time_of(event: Event) -> str:
    return event.time.astimezone(UTC).isoformat(timespec="milliseconds")


def _where(table: Table, key: Row) -> list[Any]:
    return [table.c[name] == value for name, value in key.items()]
