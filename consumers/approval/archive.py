"""Writing an approval to the archive, and calling the action of its template. The caller holds its guard."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Table, delete, insert, select

from consumers.approval import document as rows_of
from consumers.approval.actions import Action, Approved, Form, name_of
from consumers.approval.document import Events, Row
from consumers.approval.tables import (
    approval_actions_done,
    approval_actions_rejected,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_table_cells,
    approval_tasks,
)
from consumers.mirror import write_if_changed
from consumers.mirror.values import as_json, as_list, from_epoch_ms
from consumers.runtime import Event, Reject, Transaction

log = structlog.get_logger(__name__)

REVISIONS = frozenset({"MODIFY", "REVOKE"})
"""``biz_action`` of an instance that changes or takes back another one: acting on it as if it were a new one
would, for a revoked leave, count the leave twice."""


class Archive:
    """The archive of one consumer process. ``actions`` by process code; ``zone`` of the API's local times."""

    def __init__(self, actions: Mapping[str, Action], zone: ZoneInfo) -> None:
        self._actions, self._zone = actions, zone
        self._without_action: Counter[str] = Counter()

    async def write(
        self, tx: Transaction, event: Event, instance_id: str, document: Mapping[str, Any] | None
    ) -> None:
        """Bring the archive up to what ``event`` and ``document`` (None: the API has none) add to it, and
        act on the instance if it is approved and was not acted on."""
        key = {"corp_id": event.corp_id, "instance_id": instance_id}
        events, known_document = await self._known(tx, key)
        if event.event_type == "bpms_instance_change":
            kind, time = str(event.data.get("type") or ""), _time_of(event).isoformat(timespec="milliseconds")
            events = rows_of.with_event(events, kind, time, event.data)
        if document is None:
            document = known_document  # deleted meanwhile, perhaps: the archive keeps what it has
        row = rows_of.instance_row(events, document, self._zone)
        if row["outcome"] is None and "delete" not in events:
            return  # not at its end
        await write_if_changed(tx, approval_instances, key, row, at=datetime.now(UTC))
        if document is not None and (
            known_document is None or as_json(known_document) != row["raw_document"]
        ):
            await self._write_parts(tx, key, document)
        if row["outcome"] == "approved":
            await self._act(tx, key, row, document)

    async def _known(self, tx: Transaction, key: Row) -> tuple[Events, dict[str, Any] | None]:
        columns = approval_instances.c
        row = (
            await tx.execute(
                select(columns.raw_events, columns.raw_document).where(*_where(approval_instances, key))
            )
        ).one_or_none()
        if row is None:
            return {}, None
        return json.loads(row.raw_events), None if row.raw_document is None else json.loads(row.raw_document)

    async def _write_parts(self, tx: Transaction, key: Row, document: Mapping[str, Any]) -> None:
        parts: list[tuple[Table, list[Row]]] = [
            (approval_form_values, rows_of.form_rows(document)),
            (approval_table_cells, rows_of.cell_rows(document)),
            (approval_operations, rows_of.operation_rows(document, self._zone)),
            (approval_tasks, rows_of.task_rows(document, self._zone)),
        ]
        for table, rows in parts:
            await tx.execute(delete(table).where(*_where(table, key)))
            if rows:
                await tx.execute(insert(table), [{**key, **row} for row in rows])

    async def _act(self, tx: Transaction, key: Row, row: Row, document: Mapping[str, Any] | None) -> None:
        code = row["process_code"]
        function = self._actions.get(code) if code else None
        if function is None:
            self._without_action[code or ""] += 1
            log.info(
                "approval.without_action",
                process_code=code or None,
                instance_id=key["instance_id"],
                so_far=self._without_action[code or ""],
            )
            return
        if document is None:
            log.warning("approval.action_needs_document", process_code=code, instance_id=key["instance_id"])
            return
        if str(row["biz_action"]).upper() in REVISIONS:
            log.warning(
                "approval.revision_without_action",
                process_code=code,
                instance_id=key["instance_id"],
                biz_action=row["biz_action"],
            )
            return
        done = tx.insert(approval_actions_done).values(
            **key, process_code=code, action=name_of(function), done_at=datetime.now(UTC)
        )
        try:
            async with tx.connection.begin_nested():
                if (await tx.execute(done.on_conflict_do_nothing())).rowcount == 0:
                    return
                await function(_approved(key, row, document, self._zone), tx)
        except Reject as error:
            log.warning(
                "approval.action_rejected",
                process_code=code,
                instance_id=key["instance_id"],
                reason=error.reason,
            )
            rejected = {
                **key,
                "process_code": code,
                "action": name_of(function),
                "reason": error.reason,
                "rejected_at": datetime.now(UTC),
            }
            await tx.upsert(approval_actions_rejected, rejected, list(key))
            return
        rejections = _where(approval_actions_rejected, key)
        await tx.execute(delete(approval_actions_rejected).where(*rejections))
        log.info("approval.action_done", process_code=code, instance_id=key["instance_id"])


def _time_of(event: Event) -> datetime:
    """When it happened. Old-style events that name no time but the instance's start are as old as their
    receipt."""
    begun = event.time == from_epoch_ms(event.data.get("createTime"))
    return (event.received_time if begun else event.time).astimezone(UTC)


def _approved(key: Row, row: Row, document: Mapping[str, Any], zone: ZoneInfo) -> Approved:
    return Approved(
        corp_id=key["corp_id"],
        instance_id=key["instance_id"],
        process_code=row["process_code"],
        business_id=row["business_id"],
        title=row["title"],
        originator_userid=row["originator_userid"],
        originator_dept_id=row["originator_dept_id"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        form=Form(as_list(document.get("form_component_values")) or [], zone),
        document=document,
    )


def _where(table: Table, key: Row) -> list[Any]:
    return [table.c[name] == value for name, value in key.items()]
