"""Reads the approvals of one template from the archive, for an export: a page at a time, with all parts."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Table, func, select, tuple_

from consumers.approval.tables import (
    approval_attachments,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_table_cells,
    approval_tasks,
)
from dingbridge import Reader

PAGE = 200
"""Approvals read at once."""
_instances = approval_instances.c


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which approvals: of one template, ended from ``since`` until before ``until``."""

    process_code: str
    since: datetime | None = None
    until: datetime | None = None

    def where(self) -> list[Any]:
        conditions = [_instances.process_code == self.process_code, _instances.outcome.is_not(None)]
        if self.since is not None:
            conditions.append(_instances.finished_at >= self.since)
        if self.until is not None:
            conditions.append(_instances.finished_at < self.until)
        return conditions


@dataclass(slots=True)
class Approval:
    """One approval with its parts, each as the rows of its table, in order."""

    row: Mapping[str, Any]
    fields: list[Mapping[str, Any]] = field(default_factory=list)
    cells: list[Mapping[str, Any]] = field(default_factory=list)
    operations: list[Mapping[str, Any]] = field(default_factory=list)
    tasks: list[Mapping[str, Any]] = field(default_factory=list)
    attachments: list[Mapping[str, Any]] = field(default_factory=list)


async def count(db: Reader, wanted: Wanted) -> int:
    """How many approvals there are."""
    return int(await db.scalar(select(func.count()).select_from(approval_instances).where(*wanted.where())))


async def approvals(db: Reader, wanted: Wanted) -> AsyncIterator[Approval]:
    """The approvals, by corp and instance id, a page at a time. Raises ``DatabaseDown``."""
    order = (_instances.corp_id, _instances.instance_id)
    after: tuple[str, str] | None = None
    while True:
        page = select(approval_instances).where(*wanted.where()).order_by(*order).limit(PAGE)
        if after is not None:
            page = page.where(tuple_(*order) > after)
        found = {
            (row["corp_id"], row["instance_id"]): Approval({**row})
            for row in (await db.execute(page)).mappings().all()
        }
        if not found:
            return
        parts: tuple[tuple[Table, str, tuple[str, ...]], ...] = (
            (approval_form_values, "fields", ("position",)),
            (approval_table_cells, "cells", ("position", "row", "cell")),
            (approval_operations, "operations", ("position",)),
            (approval_tasks, "tasks", ("started_at", "task_id")),
            (approval_attachments, "attachments", ("attachment_id",)),
        )
        for table, name, by in parts:
            of_page = (
                select(table)
                .where(tuple_(table.c.corp_id, table.c.instance_id).in_(list(found)))
                .order_by(*(table.c[column] for column in by))
            )
            for part in (await db.execute(of_page)).mappings().all():
                getattr(found[part["corp_id"], part["instance_id"]], name).append(part)
        for approval in found.values():
            yield approval
        after = list(found)[-1]


def label(value: Mapping[str, Any]) -> str:
    """The name of a component or of a table's column; its id where it has none."""
    return str(value["name"] or value["field_id"] or "")


def _label(table: Table) -> Any:
    return func.coalesce(func.nullif(table.c.name, ""), table.c.field_id, "")


async def columns(db: Reader, wanted: Wanted) -> list[str]:
    """The labels of the form's components, in the order of the form; of one that was renamed, both."""
    values, name = approval_form_values.c, _label(approval_form_values)
    found = (
        select(name, func.min(values.position))
        .join(
            approval_instances,
            (_instances.corp_id == values.corp_id) & (_instances.instance_id == values.instance_id),
        )
        .where(*wanted.where())
        .group_by(name)
        .order_by(func.min(values.position), name)
    )
    return [str(row[0]) for row in await db.execute(found)]


async def table_columns(db: Reader, wanted: Wanted) -> dict[str, list[str]]:
    """The form's tables by label, each with the labels of its columns."""
    values, cells = approval_form_values.c, approval_table_cells.c
    table_label, label_ = _label(approval_form_values), _label(approval_table_cells)
    of_table = (
        select(table_label, label_, func.min(cells.cell))
        .join_from(
            approval_table_cells,
            approval_form_values,
            (values.corp_id == cells.corp_id)
            & (values.instance_id == cells.instance_id)
            & (values.position == cells.position),
        )
        .join(
            approval_instances,
            (_instances.corp_id == cells.corp_id) & (_instances.instance_id == cells.instance_id),
        )
        .where(*wanted.where())
        .group_by(table_label, label_)
        .order_by(func.min(cells.cell), label_)
    )
    found: dict[str, list[str]] = {}
    for table, column, _ in map(tuple, await db.execute(of_table)):
        found.setdefault(str(table), []).append(str(column))
    return found
