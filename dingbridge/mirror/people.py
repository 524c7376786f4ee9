"""A table of people as the default of ``Mirror``: its columns from a user's details, and its leavers."""

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from typing import Any, ClassVar, Final

from sqlalchemy import Column, MetaData, Select, Table, Text, select, update

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.objects import User
from dingbridge.mirror.entities import Entities, Entity
from dingbridge.mirror.kind import Gone, Kind, Written
from dingbridge.mirror.withheld import HIDEABLE, Withheld
from dingbridge.snapshots import write_if_changed
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


class People(Kind):
    """The people of ``table``; ``row`` makes the author's columns. ``own``: that is the author's function,
    so a listing, which lacks some fields, writes nothing, and no column stays that an answer lacks."""

    limited: ClassVar[bool] = True

    def __init__(
        self, entities: Entities, table: Table, row: Callable[[User], dict[str, Any]], *, own: bool
    ) -> None:
        self._table, self._row, self._own = table, row, own
        columns = () if own else HIDEABLE & set(table.c.keys())
        self._withheld = Withheld(entities, table, {name: name for name in columns})

    async def read(self, client: DingTalkClient, entity_id: str) -> User:
        return await client.user(entity_id)

    async def here(self, tx: Transaction, corp_id: str, ids: Collection[str]) -> set[str]:
        c = self._table.c
        found = await tx.execute(
            select(c.userid).where(c.corp_id == corp_id, c.userid.in_(ids), c.left_at.is_(None))
        )
        return {one.userid for one in found}

    def known(self, corp_id: str, after: str, most: int) -> Select[tuple[str]]:
        c = self._table.c
        here = select(c.userid).where(c.corp_id == corp_id, c.left_at.is_(None), c.userid > after)
        return here.order_by(c.userid).limit(most)

    async def write(
        self, tx: Transaction, entity: Entity, app: str, answer: Any, gone: Gone | None, at: datetime
    ) -> Written:
        key = {"corp_id": entity.corp_id, "userid": entity.entity_id}
        if gone is None:
            values, before = {**self._row(answer), "left_at": None}, await self._found(tx, entity)
            kept, again_s = await self._withheld.keep(tx, entity, app, answer, before, at)
            values = {name: value for name, value in values.items() if name not in kept}
            changed = await write_if_changed(tx, self._table, key, values, at=at)
            return Written(changed, again_s, kept)
        c, left_at = self._table.c, {"left_at": gone.at, "updated_at": at}
        this = (c.corp_id == entity.corp_id, c.userid == entity.entity_id, c.left_at.is_(None))
        left = await tx.execute(update(self._table).where(*this).values(**left_at))
        return Written(left.rowcount > 0)

    async def differences(self, tx: Transaction, entity: Entity, answer: Any) -> list[str]:
        if answer is None:
            return ["left_at"]
        found = await self._found(tx, entity)
        if found is None:
            return ["new"]
        values, kept = {**self._row(answer), "left_at": None}, self._withheld.lacking(answer, found)
        return [name for name, value in values.items() if name not in kept and found[name] != value]

    async def _found(self, tx: Transaction, entity: Entity) -> Mapping[str, Any] | None:
        key = (self._table.c.corp_id == entity.corp_id, self._table.c.userid == entity.entity_id)
        row = (await tx.execute(select(self._table).where(*key))).one_or_none()
        return None if row is None else dict(row._mapping)

    async def listed(
        self, tx: Transaction, corp_id: str, dept_id: int, items: Mapping[str, Any], at: datetime
    ) -> None:
        if not self._own and items:
            rows = [
                {"corp_id": corp_id, "userid": userid, **self._row(item), "left_at": None, "updated_at": at}
                for userid, item in items.items()
            ]
            await tx.execute(tx.insert(self._table).on_conflict_do_nothing(), rows)
