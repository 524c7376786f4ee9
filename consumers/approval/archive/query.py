"""Reads approvals from the archive, a page at a time: their rows, or with all parts, for an export."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, RowMapping, Table, func, select, tuple_

from dingbridge import Reader
from dingbridge.consumers.approval.archive.attachments import WAITING
from dingbridge.consumers.approval.archive.document import COMPLETED, TERMINATED, table_cells
from dingbridge.consumers.approval.tables import (
    approval_attachments,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_tasks,
)

PAGE = 200
"""Approvals read at once."""
_instances = approval_instances.c
_CHINA = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which approvals, of those that ended: of these templates and ids (none: all), from ``since`` to before
    ``until``."""

    process_codes: Sequence[str] = ()
    instance_ids: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def where(self) -> list[Any]:
        conditions: list[Any] = [_instances.outcome.is_not(None)]
        if self.process_codes:
            conditions.append(_instances.process_code.in_(self.process_codes))
        if self.instance_ids:
            conditions.append(_instances.instance_id.in_(self.instance_ids))
        if self.since is not None:
            conditions.append(_instances.finished_at >= self.since)
        if self.until is not None:
            conditions.append(_instances.finished_at < self.until)
        return conditions


async def pages(
    db: Reader, chosen: Filter, *more: ColumnElement[bool]
) -> AsyncIterator[Sequence[RowMapping]]:
    """The rows of ``approval_instances`` by corp and instance id, a page at a time; ``more`` are further
    conditions. Raises ``DatabaseDown``."""
    order = (_instances.corp_id, _instances.instance_id)
    after = ("", "")
    while True:
        page = select(approval_instances).where(*chosen.where(), *more, tuple_(*order) > after)
        rows = (await db.execute(page.order_by(*order).limit(PAGE))).mappings().all()
        if not rows:
            return
        yield rows
        after = (rows[-1]["corp_id"], rows[-1]["instance_id"])


async def whole(db: Reader, corp_id: str, ids: Sequence[str]) -> set[str]:
    """Those of ``ids`` that the archive has at their end."""
    found: set[str] = set()
    for begin in range(0, len(ids), PAGE):
        rows = await db.execute(
            select(_instances.instance_id).where(
                _instances.corp_id == corp_id,
                _instances.instance_id.in_(ids[begin : begin + PAGE]),
                _instances.document_state == "full",
                _instances.outcome.is_not(None),
                func.upper(_instances.status).in_((COMPLETED, TERMINATED)),
            )
        )
        found.update(row.instance_id for row in rows)
    return found


@dataclass(slots=True)
class Approval:
    """One approval with its parts, each as the rows of its table, in order."""

    row: Mapping[str, Any]
    fields: list[Mapping[str, Any]] = field(default_factory=list)
    operations: list[Mapping[str, Any]] = field(default_factory=list)
    tasks: list[Mapping[str, Any]] = field(default_factory=list)
    attachments: list[Mapping[str, Any]] = field(default_factory=list)


async def count(db: Reader, chosen: Filter) -> int:
    """How many approvals there are."""
    return int(await db.scalar(select(func.count()).select_from(approval_instances).where(*chosen.where())))


async def approvals(db: Reader, chosen: Filter) -> AsyncIterator[Approval]:
    """The approvals with all their parts, by corp and instance id. Raises ``DatabaseDown``."""
    async for rows in pages(db, chosen):
        found = {(row["corp_id"], row["instance_id"]): Approval({**row}) for row in rows}
        tasks = approval_tasks.c
        parts: tuple[tuple[Table, str, tuple[Any, ...]], ...] = (
            (approval_form_values, "fields", ("position",)),
            (approval_operations, "operations", ("position",)),
            # the API's own order, whose times are minutes; then those that it does not know yet
            (approval_tasks, "tasks", (tasks.position.is_(None), "position", "started_at", "task_id")),
            (approval_attachments, "attachments", ("attachment_id",)),
        )
        for table, name, by in parts:
            of_page = (
                select(table)
                .where(tuple_(table.c.corp_id, table.c.instance_id).in_(list(found)))
                .order_by(*(table.c[column] if isinstance(column, str) else column for column in by))
            )
            for part in (await db.execute(of_page)).mappings().all():
                getattr(found[part["corp_id"], part["instance_id"]], name).append(part)
        for approval in found.values():
            yield approval


async def waiting_files(db: Reader) -> int:
    """How many attachments are not downloaded yet; 10,000 stands for more. Raises ``DatabaseDown``."""
    waiting = select(approval_attachments.c.attachment_id).where(approval_attachments.c.state == WAITING)
    return int(await db.scalar(select(func.count()).select_from(waiting.limit(10_000).subquery())))


def label(value: Mapping[str, Any]) -> str:
    """The name of a component or of a table's column; its id where it has none."""
    return str(value["name"] or value["field_id"] or "")


def _label(table: Table) -> Any:
    return func.coalesce(func.nullif(table.c.name, ""), table.c.field_id, "")


async def columns(db: Reader, chosen: Filter) -> list[str]:
    """The labels of the form's components, in the order of the form; of one that was renamed, both."""
    values, name = approval_form_values.c, _label(approval_form_values)
    found = (
        select(name, func.min(values.position))
        .join(
            approval_instances,
            (_instances.corp_id == values.corp_id) & (_instances.instance_id == values.instance_id),
        )
        .where(*chosen.where())
        .group_by(name)
        .order_by(func.min(values.position), name)
    )
    return [str(row[0]) for row in await db.execute(found)]


async def table_columns(db: Reader, chosen: Filter) -> dict[str, list[str]]:
    """The form's tables by label, each with the labels of its columns."""
    found: dict[str, dict[str, int]] = {}
    async for approval in approvals(db, chosen):
        for value in approval.fields:
            for row in table_cells(value, _CHINA):
                places = found.setdefault(label(value), {})
                for place, cell in enumerate(row):
                    places[label(cell)] = min(place, places.get(label(cell), place))
    return {table: sorted(places, key=lambda name: (places[name], name)) for table, places in found.items()}
