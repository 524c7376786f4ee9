"""The table of entities: one durable row for each user, department or other thing that a mirror reads by id.

An event, a full sync or a listing makes a row due; the loop (``loop.py``) reads it. Any process of the
consumer does. The row stays when nothing is due: ``claims`` is its generation, which a read begins with and
its write needs unchanged (``dingbridge/work_queue.py``).
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    and_,
    case,
    func,
    null,
    or_,
    select,
    true,
    update,
)

from dingbridge.mirror.answers import SETTLES_S, Reported
from dingbridge.work_queue import ORDINARY, PEOPLE_WAIT, RECONCILE, WorkQueue, queue_columns, queue_index
from dingbridge.worker.context import Reader
from dingbridge.worker.reports import count, counts_by
from dingbridge.worker.store.transaction import Transaction

LEASE_S: Final = 120.0

USER, DEPARTMENT = "user", "department"
"""Kinds whose entities a full sync finds."""

COMPANY, LISTING = "company", "listing"
"""Kinds of rows beside a mirror's own. A company has one row, for its full syncs; a department has one, to
list its members."""

WHOLE: Final = "*"
"""The id of an entity that is the only one of its kind."""


class Entity(NamedTuple):
    """What is read: a company's ``user``, ``department`` or other ``kind``, by DingTalk's id."""

    corp_id: str
    kind: str
    entity_id: str


def entities_table(metadata: MetaData, name: str) -> Table:
    """The entities of one consumer, in a table of its ``metadata``."""
    return Table(
        name,
        metadata,
        Column("corp_id", Text, primary_key=True),
        Column("kind", Text, primary_key=True),
        Column("entity_id", Text, primary_key=True),
        Column("app", Text, nullable=False, comment="the app that DingTalk is asked as"),
        Column("reported", Text, comment="an event's, not settled yet: present, absent or changed"),
        Column("reported_ms", BigInteger, comment="when that happened by the event, epoch ms"),
        Column("reads", Integer, nullable=False, default=0, comment="since the event, or since missing"),
        Column("read_ms", BigInteger, comment="when the last read that was answered began; NULL: never read"),
        Column("settles_ms", BigInteger, nullable=False, default=0, comment="answers may be old until then"),
        Column("state", Text, comment="answers.State; NULL: as DingTalk answered"),
        Column("code", Text, comment="DingTalk's code of a refusal or failure; withheld: the columns"),
        Column("left_ms", BigInteger, comment="when somebody was marked as left without an event"),
        Column("run_ms", BigInteger, comment="to be read for the full sync that began then"),
        *queue_columns(),
        queue_index(f"ix_{name}_due"),
        Index(f"ix_{name}_run", "run_ms"),
        Index(f"ix_{name}_state", "state"),
    )


class Entities:
    """The rows of ``table``, made by ``entities_table``. ``clock`` gives epoch s."""

    def __init__(self, table: Table, clock: Callable[[], float]) -> None:
        self.table, self.queue = table, WorkQueue(table, lease_s=LEASE_S, clock=clock)

    def now_ms(self) -> int:
        return self.queue.now_ms()

    def at(self, entity: Entity) -> list[ColumnElement[bool]]:
        """The where clause of one row."""
        return [self.table.c[name] == value for name, value in entity._asdict().items()]

    async def report(
        self, tx: Transaction, entity: Entity, app: str, reported: Reported, reported_ms: int
    ) -> None:
        """An event reports something of ``entity``: read it now, and again as ``answers.py`` has it. Of
        several reports the newest hire or leaving counts."""
        c, now_ms = self.table.c, self.now_ms()
        priority = ORDINARY if reported == "changed" else PEOPLE_WAIT
        waits = and_(c.due_ms.is_not(None), c.reported.is_not(None))
        older = c.reported_ms > reported_ms
        newest = true() if reported == "changed" else older
        kept = and_(waits, c.reported != "changed", newest)
        new: dict[str, Any] = {"reported": reported, "reported_ms": reported_ms}
        values = {
            "app": app,
            **{name: case((kept, c[name]), else_=value) for name, value in new.items()},
            "reads": 0,
            "state": case((c.state == "refused", null()), else_=c.state),
            # the next answer may show the earlier event's change alone
            "settles_ms": case((waits, now_ms + round(SETTLES_S * 1000)), else_=c.settles_ms),
            **self.queue.due(priority, now_ms),
        }
        statement = tx.insert(self.table).values(
            **entity._asdict(), **new, app=app, due_ms=now_ms, priority=priority
        )
        await tx.execute(statement.on_conflict_do_update(index_elements=Entity._fields, set_=values))

    async def ask(
        self,
        tx: Transaction,
        app: str,
        corp_id: str,
        kind: str,
        ids: Collection[str],
        *,
        run_ms: int | None = None,
        since_ms: int | None = None,
        priority: int = RECONCILE,
        after_s: float = 0.0,
        new_only: bool = False,
    ) -> None:
        """Read each of ``ids`` without an event, in ``after_s`` s.

        Some rows keep their time: a row that is due before, a row in doubt, and a row that was read since
        ``since_ms``; with ``new_only`` every row that exists. A full sync (``run_ms``) does not wait for
        withheld fields.
        """
        c, due_ms = self.table.c, self.now_ms() + round(after_s * 1000)
        due: dict[str, Any] = {"app": app, "due_ms": due_ms, "priority": priority, "reads": 0}
        if run_ms is not None:
            due["run_ms"] = run_ms
        certain = c.state.is_(None) if run_ms is None else or_(c.state.is_(None), c.state == "withheld")
        later = and_(certain, c.due_ms > due_ms, c.leased_ms <= self.now_ms())
        idle = or_(c.due_ms.is_(None), later)
        unread = true() if since_ms is None else func.coalesce(c.read_ms, -1) < since_ms
        statement = tx.insert(self.table)
        if new_only:
            statement = statement.on_conflict_do_nothing()
        else:
            statement = statement.on_conflict_do_update(
                index_elements=Entity._fields, set_=due, where=and_(idle, unread)
            )
        if ids:
            rows = [{"corp_id": corp_id, "kind": kind, "entity_id": one, **due} for one in sorted(set(ids))]
            await tx.execute(statement, rows)

    async def settle(
        self,
        tx: Transaction,
        row: Row[Any],
        due_ms: int | None,
        settled: dict[str, Any],
        **values: Any,
    ) -> bool:
        """Release ``row`` until ``due_ms``, with ``values``; with ``settled`` too, unless an event has come
        since it was claimed. False: another process has claimed it since, and nothing is written."""
        c = self.table.c
        untouched = c.due_ms == c.leased_ms
        settled = {name: case((untouched, value), else_=c[name]) for name, value in settled.items()}
        return await self.queue.release(tx, row, due_ms=due_ms, **settled, **values)

    async def left_of_run(self, db: Reader, corp_id: str, most: int = 10_000) -> int:
        """Return how many entities are still to be read for the open full sync, up to ``most``."""
        c = self.table.c
        of_run = select(c.entity_id).where(c.run_ms > 0, c.corp_id == corp_id, c.kind != COMPANY)
        return int(await db.scalar(select(func.count()).select_from(of_run.limit(most).subquery())))

    async def failing_of_run(self, db: Reader, corp_id: str) -> Sequence[Row[Any]]:
        """Return ``kind``, ``entity_id``, ``attempts`` and ``failed_ms`` of what has failed since it was read
        last, of a full sync and of its beginning."""
        c = self.table.c
        columns = c.kind, c.entity_id, c.attempts, c.failed_ms
        return (await db.execute(select(*columns).where(*self._failing(corp_id)))).all()

    async def retry_run(self, tx: Transaction, corp_id: str) -> None:
        """Read what ``failing_of_run`` returns now."""
        failing = [*self._failing(corp_id), self.table.c.leased_ms == 0]
        await tx.execute(update(self.table).where(*failing).values(due_ms=self.now_ms()))

    def _failing(self, corp_id: str) -> list[ColumnElement[bool]]:
        c = self.table.c
        return [c.corp_id == corp_id, or_(c.run_ms > 0, c.kind == COMPANY), c.failed_ms.is_not(None)]

    async def kinds_read(self, db: Reader, corp_id: str, since_ms: int) -> set[str]:
        """Return the kinds of which something was read since ``since_ms``."""
        c = self.table.c
        read = select(c.kind).where(c.corp_id == corp_id, c.read_ms >= since_ms).distinct()
        return {row.kind for row in await db.execute(read)}

    async def in_states(self, db: Reader, corp_id: str) -> Counter[str]:
        """Return how many entities are in each state (``answers.State``)."""
        c = self.table.c
        return await counts_by(db, c.state, c.corp_id == corp_id, c.state.is_not(None))

    async def forget(self, tx: Transaction, corp_id: str, kind: str, ids: Collection[str]) -> int:
        """Keep nothing of these entities but that they were read: a read that is under way writes nothing.
        Returns how many had anything to be read."""
        c = self.table.c
        emptied = ("reported", "reported_ms", "state", "code", "left_ms", "run_ms")
        known = (c.corp_id == corp_id, c.kind == kind, c.entity_id.in_(ids))
        had = await count(tx, self.table, *known, c.due_ms.is_not(None))
        again = {"read_ms": self.now_ms(), "reads": 0, "due_ms": None, "leased_ms": 0, "claims": c.claims + 1}
        await tx.execute(update(self.table).where(*known).values(**dict.fromkeys(emptied), **again))
        return had
