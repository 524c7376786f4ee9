"""Whether a department is in the chosen part of the company, by the departments above it.

A department in the part has its row in ``departments``. Of a department outside only the parent's number is
kept: then the departments below it need no more calls.
"""

from collections.abc import Collection

from sqlalchemy import select

from dingbridge import Transaction
from dingbridge.consumers.address_sync.tables import departments, outside
from dingbridge.mirror import DEPARTMENT, Entities, Entity
from dingbridge.mirror.chosen import Chosen

UNKNOWN_AGAIN_S = 2.0
"""When somebody is read again of whose departments none is known, in s: these are read meanwhile."""


class Tree:
    """The departments, by what was read of them. ``chosen``: which of them make the part."""

    def __init__(self, chosen: Chosen, entities: Entities) -> None:
        self.chosen, self._entities = chosen, entities

    async def has(self, tx: Transaction, corp_id: str, dept_ids: Collection[int]) -> bool | None:
        """Return whether one of the departments is in the part; None: another must be read to know it."""
        found = [await self._has(tx, corp_id, one) for one in dept_ids] or [self.chosen.rest]
        return True if True in found else None if None in found else False

    async def has_department(
        self, tx: Transaction, corp_id: str, dept_id: int, parent_id: int | None
    ) -> bool | None:
        """The same for a department that was just read, and is below ``parent_id``."""
        named = self.chosen.named(dept_id)
        above = [] if parent_id is None else [parent_id]
        return await self.has(tx, corp_id, above) if named is None else named

    async def _has(self, tx: Transaction, corp_id: str, dept_id: int) -> bool | None:
        above, passed = dept_id, set[int]()
        while above not in passed:  # departments may be moved in a circle meanwhile
            passed.add(above)
            if (named := self.chosen.named(above)) is not None:
                return named
            for table in (departments, outside):
                this = [table.c.corp_id == corp_id, table.c.dept_id == above]
                if table is departments:
                    this.append(departments.c.out_of_scope_at.is_(None))
                row = (await tx.execute(select(table.c.parent_id).where(*this))).one_or_none()
                if row is not None:
                    break
            if row is None and not await self._was_read(tx, corp_id, above):
                return None
            if row is None or row.parent_id is None:
                break
            above = row.parent_id
        return self.chosen.rest

    async def _was_read(self, tx: Transaction, corp_id: str, dept_id: int) -> bool:
        """Whether DingTalk was asked for the department: then it is refused, or gone."""
        this = self._entities.at(Entity(corp_id, DEPARTMENT, str(dept_id)))
        return await tx.scalar(select(self._entities.table.c.read_ms).where(*this)) is not None

    async def note_outside(self, tx: Transaction, corp_id: str, dept_id: int, parent_id: int | None) -> None:
        """Keep the parent of a department that is outside."""
        row = {"corp_id": corp_id, "dept_id": dept_id, "parent_id": parent_id}
        statement = tx.insert(outside).values(row)
        key = [column.name for column in outside.primary_key]
        await tx.execute(statement.on_conflict_do_update(index_elements=key, set_={"parent_id": parent_id}))
