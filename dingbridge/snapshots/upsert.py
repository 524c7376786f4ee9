"""Writing only what differs, so that ``updated_at`` moves on real change and on nothing else.

The caller holds the entity's guard (``guard.py``) in the same transaction: between reading a row here and
writing it, nobody else does.
"""

from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Table, and_, delete, insert, select, update

from dingbridge.worker.store.transaction import Transaction

Values = Mapping[str, Any]


async def write_if_changed(
    tx: Transaction, table: Table, key: Values, values: Values, *, at: datetime, touch: bool = False
) -> bool:
    """Make the row ``key`` of ``table`` hold ``values``; columns not named in ``values`` stay as they are.

    ``updated_at`` becomes ``at`` if anything differs, or if ``touch`` says that something which belongs to
    the row but is in another table has changed. Returns whether something was written.
    """
    where = and_(*(table.c[name] == value for name, value in key.items()))
    found = (await tx.execute(select(table).where(where))).mappings().one_or_none()
    if found is None:
        await tx.execute(insert(table).values(**key, **values, updated_at=at))
        return True
    changed = {name: value for name, value in values.items() if found[name] != value}
    if not changed and not touch:
        return False
    await tx.execute(update(table).where(where).values(**changed, updated_at=at))
    return True


async def replace_children(
    tx: Transaction, table: Table, parent: Values, child_key: str, wanted: Mapping[Any, Values]
) -> bool:
    """Make the rows of ``parent`` in ``table`` be ``wanted``: value of ``child_key`` → other columns.

    Only the rows that differ are deleted, inserted or updated, and of a row that is there only the columns
    that are named. Returns whether any was.
    """
    of_parent = and_(*(table.c[name] == value for name, value in parent.items()))
    found: dict[Hashable, dict[str, Any]] = {
        row[child_key]: {**row} for row in (await tx.execute(select(table).where(of_parent))).mappings()
    }
    gone = [key for key in found if key not in wanted]
    # one statement for all of them: a column that only some name is NULL for the others
    columns = {name: None for values in wanted.values() for name in values}
    new = [
        {**parent, child_key: key, **columns, **values} for key, values in wanted.items() if key not in found
    ]
    if gone:
        await tx.execute(delete(table).where(of_parent, table.c[child_key].in_(gone)))
    if new:
        await tx.execute(insert(table), new)
    updated = 0
    for key, values in wanted.items():
        changed = {
            name: value for name, value in values.items() if key in found and found[key][name] != value
        }
        if changed:
            await tx.execute(update(table).where(of_parent, table.c[child_key] == key).values(**changed))
            updated += 1
    return bool(gone or new or updated)
