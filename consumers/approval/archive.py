"""Writing an approval to the archive: instance, form, records, tasks, comments, files.

The caller holds its guard. Not here: what becomes of events and document (``document.py``, ``tasks.py``,
``attachments.py``), and the action of the template (``effects.py``), which this calls.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Table, delete, insert, select

from consumers.approval import document as rows_of
from consumers.approval.attachments import OFF, SWITCHED_OFF, WAITING, attachment_rows
from consumers.approval.components import PARSER
from consumers.approval.document import Events, Row
from consumers.approval.effects import Decision, Effects, Known
from consumers.approval.tables import (
    approval_attachments,
    approval_comments,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_table_cells,
    approval_tasks,
)
from consumers.approval.tasks import comment_row, task_id, task_rows
from dingbridge import Event, Reader, Transaction
from dingbridge.snapshots import replace_children, write_if_changed
from dingbridge.snapshots.coerce import as_json, as_text


@dataclass(frozen=True, slots=True)
class Stored:
    """What the archive has of an instance. ``row`` is None when it has nothing."""

    row: Mapping[str, Any] | None
    events: Events
    document: dict[str, Any] | None


async def stored(db: Reader | Transaction, key: Row) -> Stored:
    """Read an instance of the archive."""
    where = _where(approval_instances, key)
    found = (await db.execute(select(approval_instances).where(*where))).mappings().one_or_none()
    if found is None:
        return Stored(None, {}, None)
    row: dict[str, Any] = {**found}
    document = None if row["raw_document"] is None else json.loads(row["raw_document"])
    return Stored(row, json.loads(row["raw_events"]), document)


class Archive:
    """The archive of one consumer process. ``files``: attachments are downloaded; else their rows say so."""

    def __init__(self, effects: Effects, zone: ZoneInfo, *, files: bool) -> None:
        self._effects, self._zone, self._files = effects, zone, files

    async def write(
        self,
        tx: Transaction,
        key: Row,
        *,
        event: Event | None = None,
        document: Mapping[str, Any] | None = None,
        process_code: str | None = None,
        forced: bool = False,
        failed: Exception | None = None,
    ) -> bool:
        """Bring the archive up to what ``event`` and ``document`` (None: the API has none) add to it, and
        settle the instance's action. Returns whether anything changed.

        ``process_code`` is the template as it is known from elsewhere; ``forced`` and ``failed`` as
        ``Effects.settle``.
        """
        known = await stored(tx, key)
        events = known.events
        if event is not None and event.event_type == "bpms_instance_change":
            kind = str(event.data.get("type") or "")
            events = rows_of.with_event(events, kind, _time_of(event), event.data)
        if document is None:
            document = known.document  # deleted meanwhile, perhaps: the archive keeps what it has
        code = process_code or (known.row or {}).get("process_code")
        if event is not None:
            code = code or as_text(event.data.get("processCode")) or None
        row = rows_of.instance_row(events, document, self._zone, code)
        row["parsed_with"] = PARSER
        touched = await self._write_tasks(tx, key, event, document)
        reparse = (known.row or {}).get("parsed_with") != PARSER
        if document is not None and (reparse or as_json(known.document) != row["raw_document"]):
            await self._write_parts(tx, key, document)
        changed = await write_if_changed(
            tx, approval_instances, key, row, at=datetime.now(UTC), touch=touched
        )
        fresh = (known.row or {}).get("outcome") != row["outcome"]
        await self._effects.settle(tx, key, row, events, document, forced=forced, fresh=fresh, failed=failed)
        return changed

    async def settle(
        self, tx: Transaction, key: Row, *, forced: bool = False, failed: Exception | None = None
    ) -> str | None:
        """Settle the action of an instance of the archive as it stands; its state afterwards."""
        known = await stored(tx, key)
        if known.row is None:
            return None
        return await self._effects.settle(
            tx, key, known.row, known.events, known.document, forced=forced, fresh=False, failed=failed
        )

    async def decide(self, db: Reader, key: Row, *, forced: bool) -> tuple[Known, Decision]:
        """What ``settle`` would do."""
        known = await stored(db, key)
        if known.row is None:
            return Known(), Decision()
        return await self._effects.decide(db, key, known.row, known.events, known.document, forced=forced)

    async def parse_again(self, tx: Transaction, key: Row) -> None:
        """Make the form's rows anew from the document that the archive has."""
        known = await stored(tx, key)
        if known.row is None:
            return
        await self._write_tasks(tx, key, None, known.document)
        if known.document is not None:
            await self._write_parts(tx, key, known.document)
        row = rows_of.instance_row(known.events, known.document, self._zone, known.row["process_code"]) | {
            "parsed_with": PARSER
        }
        await write_if_changed(tx, approval_instances, key, row, at=datetime.now(UTC))

    async def _write_tasks(
        self, tx: Transaction, key: Row, event: Event | None, document: Mapping[str, Any] | None
    ) -> bool:
        """Tasks and comments; whether any changed."""
        columns = approval_tasks.c
        found = select(columns.task_id, columns.raw_events).where(*_where(approval_tasks, key))
        told: dict[str, Events] = {
            row.task_id: json.loads(row.raw_events) for row in await tx.execute(found) if row.raw_events
        }
        added = False
        if event is not None and event.event_type == "bpms_task_change":
            kind, task = str(event.data.get("type") or ""), task_id(event.data)
            if kind == "comment":
                comment = {**key, **comment_row(event.data)}
                statement = tx.insert(approval_comments).values(comment).on_conflict_do_nothing()
                added = (await tx.execute(statement)).rowcount == 1
            elif task is not None:
                events = rows_of.with_event(told.get(task, {}), kind, _time_of(event), event.data)
                told = {**told, task: events}
        rows = task_rows(document, told, self._zone)
        return await replace_children(tx, approval_tasks, key, "task_id", rows) or added

    async def _write_parts(self, tx: Transaction, key: Row, document: Mapping[str, Any]) -> None:
        parts: list[tuple[Table, list[Row]]] = [
            (approval_form_values, rows_of.form_rows(document, self._zone)),
            (approval_table_cells, rows_of.cell_rows(document, self._zone)),
            (approval_operations, rows_of.operation_rows(document, self._zone)),
        ]
        for table, rows in parts:
            await tx.execute(delete(table).where(*_where(table, key)))
            if rows:
                await tx.execute(insert(table), [{**key, **row} for row in rows])
        now = datetime.now(UTC)
        for id_, row in attachment_rows(document, self._zone).items():
            if row["state"] == WAITING and not self._files:
                row = {**row, "state": OFF, "reason": SWITCHED_OFF}
            values = {**key, "attachment_id": id_, **row, "next_attempt_at": now}
            # a file that left the form stays in the archive, and what is downloaded stays so
            await tx.execute(tx.insert(approval_attachments).values(values).on_conflict_do_nothing())


def _time_of(event: Event) -> str:
    return event.time.astimezone(UTC).isoformat(timespec="milliseconds")


def _where(table: Table, key: Row) -> list[Any]:
    return [table.c[name] == value for name, value in key.items()]
