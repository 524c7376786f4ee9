"""The generation guard: of two fetches of one entity, the older can never overwrite the newer.

A contact or approval event only reports that an entity changed; the consumer fetches the entity and writes
what it got. Two such fetches may overtake each other: other topic, other process, a member that was frozen
and thaws. So a fetch begins by reading the entity's generation. Its write commits only if that is unchanged,
and raises it; otherwise the handler fetches again.

The generation rises with *every* fetch that commits, also with one that found nothing to change: the entity
may have changed and changed back meanwhile, and a fetch that is still under way may carry the state in
between. The generations have a table of their own, so that such a fetch does not touch the entity's own row,
its ``updated_at`` and an OA system's triggers on it. The row stays when the entity is gone, or was never
there: it is the tombstone.

Not here: what is fetched, and what is written.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, select, update
from sqlalchemy.sql import ColumnElement

from dingbridge.worker.context import Reader
from dingbridge.worker.outcomes import Conflict
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime


@dataclass(frozen=True, slots=True)
class FetchAttempt:
    """One fetch of one entity, from before the request to DingTalk until its write. ``generation`` is 0 for
    an entity that was never fetched.

    ``began_at`` was taken before the fetch, which therefore includes all earlier changes of the entity.
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

    async def begin(
        self, db: Reader, corp_id: str, kind: str, entity_id: str, *, began_at: datetime | None = None
    ) -> FetchAttempt:
        """Call it before the fetch, which begins now unless ``began_at`` says otherwise. Raises
        ``DatabaseDown``."""
        columns = self.table.c
        row = (
            await db.execute(
                select(columns.generation, columns.fetched_at).where(*self._key(corp_id, kind, entity_id))
            )
        ).one_or_none()
        return FetchAttempt(
            corp_id,
            kind,
            entity_id,
            generation=row.generation if row else 0,
            began_at=began_at or datetime.now(UTC),
            last_fetch_at=row.fetched_at if row else None,
        )

    async def claim(self, tx: Transaction, attempt: FetchAttempt, *, fetched: bool = True) -> None:
        """Raise the generation, and hold it to the end of ``tx``; call it before the first write.

        ``fetched=False`` says that DingTalk was not asked. Raises ``Conflict`` when another fetch has
        committed since this one began, or ``DatabaseDown``.
        """
        if not await self.try_claim(tx, attempt, fetched=fetched):
            raise Conflict(f"another fetch of this {attempt.kind} was written meanwhile")

    async def try_claim(self, tx: Transaction, attempt: FetchAttempt, *, fetched: bool = True) -> bool:
        """``claim``, but False where that would raise ``Conflict``."""
        key = {"corp_id": attempt.corp_id, "kind": attempt.kind, "entity_id": attempt.entity_id}
        fetched_at = attempt.began_at if fetched else attempt.last_fetch_at
        if attempt.generation == 0:
            statement = tx.insert(self.table).values(**key, generation=1, fetched_at=fetched_at)
            return (await tx.execute(statement.on_conflict_do_nothing())).rowcount == 1
        changed = await tx.execute(
            update(self.table)
            .where(*self._key(**key), self.table.c.generation == attempt.generation)
            .values(generation=attempt.generation + 1, fetched_at=fetched_at)
        )
        return changed.rowcount == 1

    async def outdate(self, tx: Transaction, corp_id: str, kind: str, entity_ids: Collection[str]) -> None:
        """Raise the generations of ``entity_ids``: fetches of them that are under way begin again."""
        columns = self.table.c
        await tx.execute(
            update(self.table)
            .where(columns.corp_id == corp_id, columns.kind == kind, columns.entity_id.in_(entity_ids))
            .values(generation=columns.generation + 1)
        )

    def _key(self, corp_id: str, kind: str, entity_id: str) -> list[ColumnElement[bool]]:
        columns = self.table.c
        return [columns.corp_id == corp_id, columns.kind == kind, columns.entity_id == entity_id]
