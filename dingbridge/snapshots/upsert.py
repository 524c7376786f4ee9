"""Writing only what differs, so that ``updated_at`` moves on real change and on nothing else.

The caller holds the entity's guard (``version_guard.py``) in the same transaction, so nobody else writes a
row between its reading and its writing here.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Table, and_, bindparam, delete, insert, select, update

from dingbridge.worker.store.transaction import Transaction

Values = Mapping[str, Any]


async def write_if_changed(
    tx: Transaction, table: Table, key: Values, values: Values, *, at: datetime, touch: bool = False
) -> bool:
    """Make the row ``key`` of ``table`` hold ``values``; columns not named in ``values`` stay as they are.

    ``updated_at`` becomes ``at`` if anything differs, or if ``touch`` says that something which belongs to
    the row but is in another table has changed. Returns whether something was written.
    """
    *_, last = key
    shared = {name: value for name, value in key.items() if name != last}
    touched = {key[last]} if touch else set()
    return await write_rows(tx, table, shared, last, {key[last]: values}, at=at, touched=touched)


async def write_rows(
    tx: Transaction,
    table: Table,
    shared: Values,
    key: str,
    wanted: Mapping[Any, Values],
    *,
    at: datetime,
    touched: Collection[Any] = (),
) -> bool:
    """``write_if_changed`` for many rows in few statements: ``wanted`` maps values of the column ``key`` to
    rows; the other key columns are ``shared``. Returns whether something was written."""
    where = and_(*(table.c[name] == value for name, value in shared.items()))
    rows = (await tx.execute(select(table).where(where, table.c[key].in_(wanted)))).mappings()
    found = {row[key]: row for row in rows}
    # one statement for all rows: a column that only some of them name is NULL in the others
    columns = {name: None for values in wanted.values() for name in values}
    new = [
        {**shared, key: an_id, **columns, **values, "updated_at": at}
        for an_id, values in wanted.items()
        if an_id not in found
    ]
    if new:
        await tx.execute(insert(table), new)
    alike: dict[frozenset[str], list[Values]] = defaultdict(list)
    for an_id, row in found.items():
        changed = {name: value for name, value in wanted[an_id].items() if row[name] != value}
        if changed or an_id in touched:
            new_values = {f"new_{name}": value for name, value in changed.items()}
            alike[frozenset(changed)].append({"written_key": an_id, **new_values})
    for names, values_of in alike.items():
        set_to = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in sorted(names)}
        statement = update(table).where(where, table.c[key] == bindparam("written_key"))
        await tx.execute(statement.values(**set_to, updated_at=at), values_of)
    return bool(new or alike)


async def replace_children(
    tx: Transaction, table: Table, parent: Values, child_key: str, wanted: Mapping[Any, Values]
) -> bool:
    """Make the rows of ``parent`` in ``table`` be ``wanted``: value of ``child_key`` → other columns.

    Only rows that differ are deleted, inserted or updated; in an existing row only the named columns.
    Returns whether any differed.
    """
    of_parent = and_(*(table.c[name] == value for name, value in parent.items()))
    rows = (await tx.execute(select(table).where(of_parent))).mappings()
    found = {row[child_key]: row for row in rows}
    if gone := [key for key in found if key not in wanted]:
        await tx.execute(delete(table).where(of_parent, table.c[child_key].in_(gone)))
    # one statement for all rows: a column that only some of them name is NULL in the others
    columns = {name: None for values in wanted.values() for name in values}
    new = [
        {**parent, child_key: key, **columns, **values} for key, values in wanted.items() if key not in found
    ]
    if new:
        await tx.execute(insert(table), new)
    changed = False
    for key, row in found.items():
        if values := {name: value for name, value in wanted.get(key, {}).items() if row[name] != value}:
            await tx.execute(update(table).where(of_parent, table.c[child_key] == key).values(**values))
            changed = True
    return bool(gone or new or changed)
