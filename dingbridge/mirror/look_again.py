"""Fetches entities again, since an answer may be older than its event: one durable row for each entity.

An event is handled at once, with what its fetch showed; its offset does not wait. If that disagrees with the
event, or the entity was also fetched a moment ago, the row has the time of the next fetch
(``dingbridge/snapshots/late_answers.py``). A newer event begins the series again. Any process of the consumer
does the fetches. A full comparison (``comparison.py``) uses the same rows, for people without an event.

Not here: what a look fetches and writes (``mirror.py``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, get_args

import structlog
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    and_,
    case,
    delete,
    func,
    select,
)

from dingbridge.availability import Availability
from dingbridge.error_location import error_location
from dingbridge.mirror.leavers import WAITS
from dingbridge.snapshots.late_answers import (
    ABSENT_AGAIN_S,
    LEAVER_AGAIN_S,
    LOOK_AGAIN_S,
    Said,
    look_again_s,
)
from dingbridge.work_queue import (
    ORDINARY,
    PEOPLE_WAIT,
    RECONCILE,
    WorkQueue,
    keep_working,
    queue_columns,
    queue_index,
)
from dingbridge.worker.outcomes import Conflict
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.errors import DatabaseDown
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
"""Looks under way at the same time in one process."""

IDLE_S: Final = 1.0
"""How often a process asks whether something is due, in s."""

MEASURE_EVERY_S: Final = 10.0
LEASE_S: Final = 120.0

Look = Callable[[Row[Any]], Awaitable[None]]
"""Does the look of a row, and releases it."""


class Entity(NamedTuple):
    """What is looked at: a company's ``user``, ``department`` or other ``kind``, by DingTalk's id."""

    corp_id: str
    kind: str
    entity_id: str


def look_again_table(metadata: MetaData, name: str) -> Table:
    """The rows of one consumer, in a table of its ``metadata``."""
    return Table(
        name,
        metadata,
        Column("corp_id", Text, primary_key=True),
        Column("kind", Text, primary_key=True),
        Column("entity_id", Text, primary_key=True),
        Column("app", Text, nullable=False, comment="the app that DingTalk is asked as"),
        Column("said", Text, comment="what its event said: present, absent or changed; NULL: no event"),
        Column("said_ms", BigInteger, comment="when that happened by the event, epoch ms"),
        Column("looks", Integer, nullable=False, default=0, comment="looks since, the event's own too"),
        *queue_columns(),
        queue_index(f"ix_{name}_due"),
    )


class LookAgain:
    """The rows of ``table``, made by ``look_again_table``. ``clock`` gives epoch s."""

    def __init__(
        self, table: Table, clock: Callable[[], float], registry: CollectorRegistry | None = None
    ) -> None:
        self.table, self._clock = table, clock
        self.queue = WorkQueue(table, lease_s=LEASE_S, clock=clock)
        self._availability, self._try_at, self._measure_at = Availability(), 0.0, 0.0
        registry = registry or CollectorRegistry()
        self._due = Gauge(
            "dingbridge_mirror_due",
            "Entities that are due to be looked at again: after hires and leavers (0), after other events "
            "(1), for a comparison of everybody (2); 10000 stands for more",
            ("priority",),
            registry=registry,
        )

        self._leavers_waiting = Gauge(
            "dingbridge_mirror_leavers_waiting",
            "People whom DingTalk does not know, beyond the day's limit of leavers: they wait for dingbridge "
            "resync --confirm-leavers N",
            registry=registry,
        )

    async def begin(self, tx: Transaction, of: Entity, app: str, said: Said, said_ms: int) -> None:
        """An event was handled: look again as often as the policy has it. A hire or a leaver that the row
        has is kept when a change is reported meanwhile."""
        c, due_ms = self.table.c, self.queue.now_ms() + round(LOOK_AGAIN_S[0] * 1000)
        priority = ORDINARY if said == "changed" else PEOPLE_WAIT
        reported = {"said": said, "said_ms": said_ms}
        new = {"app": app, **reported, "looks": 1, "due_ms": due_ms, "priority": priority}
        again: dict[str, Any] = {}
        if said == "changed":
            known = and_(c.due_ms.is_not(None), c.said.is_not(None))
            again = {name: case((known, c[name]), else_=value) for name, value in reported.items()}
        statement = tx.insert(self.table).values(**of._asdict(), **new)
        await tx.execute(
            statement.on_conflict_do_update(
                index_elements=Entity._fields, set_=new | again | self.queue.due(priority, due_ms)
            )
        )

    async def end(self, tx: Transaction, of: Entity) -> None:
        """An answer agreed with the event: no further look is needed."""
        await tx.execute(delete(self.table).where(*(self.table.c[k] == v for k, v in of._asdict().items())))

    async def waits(self, tx: Transaction, of: Entity) -> bool:
        """Whether an event before has a look to come."""
        c, event_said = self.table.c, get_args(Said)
        same = (self.table.c[name] == value for name, value in of._asdict().items())
        to_come = select(c.looks).where(*same, c.due_ms.is_not(None), c.said.in_(event_said))
        return await tx.scalar(to_come) is not None

    async def ask_once(self, tx: Transaction, app: str, entities: list[Entity]) -> None:
        """Look once at each of ``entities``, without an event; a row that is there keeps its time."""
        c, nothing = self.table.c, {"said": None, "said_ms": None, "looks": 0}
        new = {"app": app, **nothing, "due_ms": self.queue.now_ms(), "priority": RECONCILE}
        statement = tx.insert(self.table).on_conflict_do_update(
            index_elements=Entity._fields, set_=new, where=c.due_ms.is_(None)
        )
        if entities:
            await tx.execute(statement, [{**of._asdict(), **new} for of in entities])

    async def looked(self, tx: Transaction, row: Row[Any], *, exists: bool, undecided: bool = False) -> None:
        """``row`` was looked at: when to do so next, if at all. While ``undecided`` there is a next time."""
        looks = row.looks + 1
        wait_s = next_look_s(row.said, looks, exists=exists)
        if wait_s is None and undecided:
            wait_s = LOOK_AGAIN_S[-1]
        if wait_s is None:
            await self.queue.done(tx, row)
        else:
            due_ms, c = self.queue.now_ms() + round(wait_s * 1000), self.table.c
            # an event since the claim has begun the looks again
            counted = case((c.due_ms == c.leased_ms, looks), else_=c.looks)
            await self.queue.release(tx, row, due_ms=due_ms, looks=counted)

    async def run(self, database: Database, look: Look) -> None:
        """Never returns. Raises ``DatabaseDown``: call it again."""

        async def claim(most: int) -> list[Row[Any]]:
            await self._measure(database)
            return await self._claim(database, most)

        await keep_working(claim, lambda row: self._one(database, row, look), AT_ONCE, IDLE_S)

    async def run_due(self, database: Database, look: Look) -> int:
        """Do what is due now; returns how many looks that were."""
        done = 0
        while rows := await self._claim(database, AT_ONCE):
            await asyncio.gather(*(self._one(database, row, look) for row in rows))
            done += len(rows)
        return done

    async def _claim(self, database: Database, most: int) -> list[Row[Any]]:
        """The rows to do now; while DingTalk is down, one after each pause, and each time another."""
        now = self._clock()
        if self._availability.is_down:
            if now < self._try_at:
                return []
            self._try_at, most = now + self._availability.pause_s(), min(most, 1)
        return await self.queue.claim(database, most)

    async def _measure(self, database: Database) -> None:
        if (now := self._clock()) >= self._measure_at:
            self._measure_at = now + MEASURE_EVERY_S
            for priority, due in (await self.queue.depth(database.reader())).items():
                self._due.labels(str(priority)).set(due)
            waits = select(func.count()).select_from(self.table).where(self.table.c.said == WAITS)
            self._leavers_waiting.set(await database.reader().scalar(waits))

    async def _one(self, database: Database, row: Row[Any], look: Look) -> None:
        try:
            await look(row)
            self._availability.worked(self._clock())
        except DatabaseDown:
            raise
        except Conflict:  # an event was handled meanwhile, and began the looks again
            async with database.transaction() as tx:
                await self.queue.release(tx, row, due_ms=self.queue.now_ms())
        except Exception as error:
            where = error_location(error, "consumers")
            async with database.transaction() as tx:
                then = await self.queue.failed(tx, row, self._availability, error)
            level = log.error if then == "given-up" else log.warning
            level("mirror.not_looked_at", kind=row.kind, entity_id=row.entity_id, error=where, then=then)


def next_look_s(said: Said | None, looks: int, *, exists: bool) -> float | None:
    """How long to wait, in s, after look number ``looks``; None: that was the last."""
    if said is None:
        return None
    later = looks - len(LOOK_AGAIN_S) - 1
    if said == "present" and not exists and later == 0:
        return ABSENT_AGAIN_S
    if said == "absent" and exists and 0 <= later < len(LEAVER_AGAIN_S):
        return LEAVER_AGAIN_S[later]
    return look_again_s(looks)


def believed(said: Said | None, looks: int, *, exists: bool) -> bool:
    """Whether the answer of look number ``looks`` may be written: it agrees with the event on whether the
    entity exists, or it is the last look."""
    return said is None or exists == (said != "absent") or look_again_s(looks) is None
