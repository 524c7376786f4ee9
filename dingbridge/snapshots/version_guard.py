"""The generation guard: of two looks at one entity, the older can never overwrite the newer.

A contact or approval event only says *look again*; the consumer fetches the entity and writes what it saw.
Two such fetches may overtake each other: other topic, other process, a member that was frozen and thaws.
So a look begins by reading the entity's generation, and its write commits only if that is unchanged, and
raises it; otherwise the handler starts again with a new look.

The generation is raised by *every* look that commits, also by one that found nothing to change: the
entity may have changed and changed back meanwhile, and a look that is still under way may carry the state
in between. It therefore is in a table of its own, so that such a look leaves the entity's own row, its
``updated_at`` and whatever triggers an OA system hangs on it untouched. The row stays when the entity is
gone, or was never seen: it is the tombstone.

Not here: what is fetched, and what is written.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, select, update
from sqlalchemy.sql import ColumnElement

from dingbridge.worker.context import Reader
from dingbridge.worker.outcomes import Conflict
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at one entity. ``generation`` is 0 for an entity that was never looked at.

    ``began_at`` was taken before the fetch: whatever happened to the entity earlier, the fetch has seen.
    ``last_fetch_at`` is the ``began_at`` of the last fetch that committed.
    """

    corp_id: str
    kind: str
    entity_id: str
    generation: int
    began_at: datetime
    last_fetch_at: datetime | None


class VersionGuard:
    """The generations of one consumer's entities, in one table of its ``metadata``."""

    def __init__(self, metadata: MetaData, table_name: str) -> None:
        self.table = Table(
            table_name,
            metadata,
            Column("corp_id", Text, primary_key=True),
            Column("kind", Text, primary_key=True),
            Column("entity_id", Text, primary_key=True),
            Column("generation", BigInteger, nullable=False),
            Column(
                "fetched_at", UtcDateTime, comment="when the last fetch for an event began that was written"
            ),
        )

    async def snapshot(
        self, db: Reader, corp_id: str, kind: str, entity_id: str, *, began_at: datetime | None = None
    ) -> Snapshot:
        """Begin a look, now unless ``began_at`` says otherwise; call it before the fetch. Raises
        ``DatabaseDown``."""
        columns = self.table.c
        row = (
            await db.execute(
                select(columns.generation, columns.fetched_at).where(*self._key(corp_id, kind, entity_id))
            )
        ).one_or_none()
        return Snapshot(
            corp_id,
            kind,
            entity_id,
            generation=row.generation if row else 0,
            began_at=began_at or datetime.now(UTC),
            last_fetch_at=row.fetched_at if row else None,
        )

    async def claim(self, tx: Transaction, look: Snapshot, *, fetched: bool = True) -> None:
        """Raise the generation, and hold it to the end of ``tx``; call it before the first write.

        ``fetched=False`` says that nothing was fetched in this look. Raises ``Conflict`` when another look
        has committed since this one began, or ``DatabaseDown``.
        """
        if not await self.try_claim(tx, look, fetched=fetched):
            raise Conflict(f"another look at this {look.kind} was written meanwhile")

    async def try_claim(self, tx: Transaction, look: Snapshot, *, fetched: bool = True) -> bool:
        """``claim``, but False where that would raise ``Conflict``."""
        key = {"corp_id": look.corp_id, "kind": look.kind, "entity_id": look.entity_id}
        fetched_at = look.began_at if fetched else look.last_fetch_at
        if look.generation == 0:
            statement = tx.insert(self.table).values(**key, generation=1, fetched_at=fetched_at)
            return (await tx.execute(statement.on_conflict_do_nothing())).rowcount == 1
        changed = await tx.execute(
            update(self.table)
            .where(*self._key(**key), self.table.c.generation == look.generation)
            .values(generation=look.generation + 1, fetched_at=fetched_at)
        )
        return changed.rowcount == 1

    async def generations(
        self, db: Reader, corp_id: str, kind: str, entity_ids: Collection[str]
    ) -> dict[str, int]:
        """The generations of ``entity_ids``. One that is absent was never looked at, and has generation 0."""
        columns = self.table.c
        rows = await db.execute(
            select(columns.entity_id, columns.generation).where(
                columns.corp_id == corp_id, columns.kind == kind, columns.entity_id.in_(entity_ids)
            )
        )
        return {row.entity_id: row.generation for row in rows}

    async def claim_many(
        self, tx: Transaction, corp_id: str, kind: str, looks: Mapping[str, int]
    ) -> set[str]:
        """``try_claim`` for many entities, for no event: their ids with the generations that the looks began
        with. Returns the ids that are claimed; at the others, somebody else has looked since."""
        columns = self.table.c
        of_kind = (columns.corp_id == corp_id, columns.kind == kind)
        rows = await tx.execute(
            select(columns.entity_id, columns.generation)
            .where(*of_kind, columns.entity_id.in_(looks))
            .order_by(columns.entity_id)
            .with_for_update()
        )
        found = {row.entity_id: row.generation for row in rows}
        claimed = {entity_id for entity_id, generation in found.items() if looks[entity_id] == generation}
        if claimed:
            await tx.execute(
                update(self.table)
                .where(*of_kind, columns.entity_id.in_(claimed))
                .values(generation=columns.generation + 1)
            )
        new = [
            {"corp_id": corp_id, "kind": kind, "entity_id": an_id, "generation": 1}
            for an_id in sorted(looks.keys() - found.keys())
            if looks[an_id] == 0
        ]
        if new:
            insert = tx.insert(self.table).on_conflict_do_nothing().returning(columns.entity_id)
            claimed |= {row.entity_id for row in await tx.execute(insert, new)}
        return claimed

    async def outdate(self, tx: Transaction, corp_id: str, kind: str, entity_ids: Collection[str]) -> None:
        """Raise the generations of ``entity_ids``: looks at them that are under way begin again."""
        columns = self.table.c
        await tx.execute(
            update(self.table)
            .where(columns.corp_id == corp_id, columns.kind == kind, columns.entity_id.in_(entity_ids))
            .values(generation=columns.generation + 1)
        )

    def _key(self, corp_id: str, kind: str, entity_id: str) -> list[ColumnElement[bool]]:
        columns = self.table.c
        return [columns.corp_id == corp_id, columns.kind == kind, columns.entity_id == entity_id]
