"""A table of people as the default of ``Mirror``: its columns from a user's details, and its leavers."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Any, Final

from sqlalchemy import Column, MetaData, Table, Text, update

from dingbridge.dingtalk.api.objects import User
from dingbridge.snapshots import FetchAttempt, write_if_changed
from dingbridge.snapshots.coerce import as_bool, as_int, as_text, china_date, from_epoch_ms
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime

TOPICS: Final = (
    "user_add_org",
    "user_modify_org",
    "user_leave_org",
    "user_active_org",
    "org_admin_add",
    "org_admin_remove",
    "label_user_change",
)
"""The EventTypes that name users."""

MADE_WITH: Final = 'make it with people_table("staff", metadata, Column("name", Text))'

_OURS: Final = ("corp_id", "userid", "left_at", "updated_at")

_VALUES: Final[dict[type, Callable[[Any], Any]]] = {
    bool: as_bool,
    int: as_int,
    date: china_date,
    datetime: from_epoch_ms,
}


def people_table(name: str, metadata: MetaData, *columns: Column[Any]) -> Table:
    """A table of people: ``columns`` beside ``corp_id``, ``userid``, ``left_at`` (NULL: works here) and
    ``updated_at``, which moves when anything of the row does. A row stays when somebody leaves."""
    return Table(
        name,
        metadata,
        Column("corp_id", Text, primary_key=True),
        Column("userid", Text, primary_key=True),
        *columns,
        Column("left_at", UtcDateTime, comment="when the employee left, else NULL; the row stays"),
        Column("updated_at", UtcDateTime, nullable=False),
    )


def check(consumer: str, table: Table, *, fields: bool) -> None:
    """Raises ``ValueError`` for a table that ``people_table`` cannot have made, and where ``fields`` for a
    column that is no field of a person's."""
    if missing := [column for column in _OURS if column not in table.c]:
        raise ValueError(f"{consumer}.table has no {' and no '.join(missing)}; {MADE_WITH}")
    known = User.__annotations__
    for name in [column.name for column in table.c if fields and column.name not in (*_OURS, *known)]:
        near = "".join(f" ({one} is near it)" for one in get_close_matches(name, known, n=1))
        raise ValueError(
            f"{consumer}.table has a column {name}, which this version knows of no person{near}; "
            "where it is meant, override `row`"
        )


def row(table: Table, user: Mapping[str, Any]) -> dict[str, Any]:
    """The author's columns from the fields of the same names."""
    theirs = {column.name: column.type.python_type for column in table.c if column.name not in _OURS}
    return {name: _as(type_)(user.get(name)) for name, type_ in theirs.items()}


def _as(type_: type) -> Callable[[Any], Any]:
    return _VALUES.get(type_, as_text)


async def write(
    tx: Transaction, table: Table, of: FetchAttempt, row: Mapping[str, Any] | None, *, gone_at: datetime
) -> bool:
    """Make the person's row equal to ``row``; None: the person has left. Returns whether it changed."""
    now, key = datetime.now(UTC), {"corp_id": of.corp_id, "userid": of.entity_id}
    if row is not None:
        return await write_if_changed(tx, table, key, {**row, "left_at": None}, at=now)
    here = (*(table.c[name] == value for name, value in key.items()), table.c.left_at.is_(None))
    gone = await tx.execute(update(table).where(*here).values(left_at=gone_at, updated_at=now))
    return gone.rowcount > 0
