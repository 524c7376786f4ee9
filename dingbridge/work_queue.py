"""A work queue in a table, shared by several processes: each row is worked on by one of them at a time.

A row is due at ``due_ms``. The process that claims it has it for a lease; ``claims`` shows later whether it
still has (a process may be frozen for longer than its lease). While it works, others may make the row due
again: ``due_ms`` then no longer equals ``leased_ms``, and ``release`` and ``done`` leave it due. Times are
epoch ms of the claiming process's clock; a lease is longer than the clocks of two hosts differ.

Each statement reads ``queue_index``; its cost does not grow with the queue. Not here: how a row is
done, and when to try it again after a success.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    Index,
    Integer,
    Row,
    SmallInteger,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from dingbridge.availability import Availability, is_given_up, own_delay_s
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import BridgeError
from dingbridge.retry import ASKED_MAX_S
from dingbridge.tasks import end
from dingbridge.worker.context import Reader
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.transaction import Transaction

T = TypeVar("T")

PEOPLE_WAIT, ORDINARY, RECONCILE = 0, 1, 2
"""The priorities: hires, leavers and decisions; other work for an event or a message; work that nobody waits
for, such as a comparison of everything."""

_TURNS: Final = (0, 0, 1, 0, 0, 1, 0, 2)
"""The priority of each of eight claimed rows. One with nothing due gives its turn to the first that has work:
so none starves, and work that people wait for comes soon."""

_FAILED_DELAY_S: Final = 2.0
_OWN_DELAYS_MS: Final = {failures: round(own_delay_s(failures) * 1000) for failures in range(11)}
_OURS_TO_KNOW = {"entity": True, "address": False, "month": False, "token": False, "right": False}


def queue_columns() -> tuple[Column[Any], ...]:
    """The columns that a table needs to be a queue, for ``Table(…, *queue_columns(), queue_index(…))``."""
    return (
        Column("due_ms", BigInteger, comment="when there is something to do; NULL: nothing"),
        Column("priority", SmallInteger, nullable=False, default=ORDINARY, comment="0 first; 2 can wait"),
        Column("leased_ms", BigInteger, nullable=False, default=0, comment="until then a process has it"),
        Column("claims", BigInteger, nullable=False, default=0, comment="raised by each that claims it"),
        Column("attempts", Integer, nullable=False, default=0, comment="failures in a row of its own"),
        Column("failed_ms", BigInteger, comment="its last failure since it worked"),
        Column("failing_since_ms", BigInteger, comment="the first failure of its own since it worked"),
    )


def queue_index(name: str) -> Index:
    """The index that claims read."""
    return Index(name, "priority", "due_ms")


def _clock() -> float:
    return time.time()


def whose(error: BaseException | None) -> bool | None:
    """Whether a failure is the entity's own, by ``error`` alone; None: only another entity can show it."""
    if isinstance(error, ApiError):
        return _OURS_TO_KNOW.get(error.about)
    return None


def is_own(error: BaseException | None, availability: Availability, before: float | None) -> bool | None:
    """``whose``, for an entity that failed ``before``. A refusal of our address is its own failure, too, when
    it comes again while others get answers. A firewall may block this entity's answer alone."""
    refused = isinstance(error, ApiError) and error.about == "address"
    return True if refused and availability.is_own_again(before) else whose(error)


async def keep_working(
    claim: Callable[[int], Awaitable[Sequence[T]]],
    work: Callable[[T], Awaitable[None]],
    at_once: int,
    look_every_s: float = 0.5,
) -> None:
    """Claim, and ``work``, up to ``at_once`` at a time, until cancelled; one that takes long keeps its own
    place only. ``look_every_s``: how often new work is looked for when there is none, in s. Raises what one
    of the two raises."""
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            free = at_once - len(running)
            claimed = await claim(free) if free else ()
            running |= {asyncio.ensure_future(work(one)) for one in claimed}
            if not running:
                await asyncio.sleep(look_every_s)
                continue
            wait_s = None if len(running) == at_once else look_every_s
            done, running = await asyncio.wait(running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        await end(*running)


class WorkQueue:
    """The rows of ``table`` as a queue. ``lease_s``: how long a claimed row is left to its claimer, in s."""

    def __init__(
        self,
        table: Table,
        *only: ColumnElement[bool],
        lease_s: float = 60,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``only``: which rows are claimed here. ``clock`` gives epoch s; None: this machine's."""
        self.table, self._lease_ms = table, round(lease_s * 1000)
        self._clock = clock or _clock
        self._c, self._only = table.c, only
        self._turns = itertools.cycle(_TURNS)

    def now_ms(self) -> int:
        return round(self._clock() * 1000)

    def due(self, priority: int = ORDINARY, at_ms: int | None = None) -> dict[str, Any]:
        """Values of an ``UPDATE`` that make a row due at ``at_ms``, now if that is None, also while it is
        claimed. An earlier time and a more urgent priority stay."""
        at, c = self.now_ms() if at_ms is None else at_ms, self._c
        earlier = and_(c.due_ms < at, or_(c.leased_ms == 0, c.due_ms != c.leased_ms))
        return {
            # a claimed row is the one with due_ms = leased_ms, so these must differ
            "due_ms": case((earlier, c.due_ms), (c.leased_ms == at, at - 1), else_=at),
            "priority": case(
                (and_(c.due_ms.is_not(None), c.priority < priority), c.priority), else_=priority
            ),
        }

    async def claim(self, database: Database, most: int, *where: ColumnElement[bool]) -> list[Row[Any]]:
        """Up to ``most`` rows that are due, most urgent first, which nobody else gets during the lease;
        ``where`` restricts which. A row has all columns of the table as they are from now on. Nothing is
        written where nothing is due."""
        now = self.now_ms()
        waiting = await self._count(database.reader(), most, now, *where)
        take: Counter[int] = Counter()
        for _ in range(min(most, waiting.total())):
            turn = next(self._turns)
            priority = turn if waiting[turn] else min(p for p in waiting if waiting[p])
            waiting[priority] -= 1
            take[priority] += 1
        if not take:
            return []
        until, claimed = now + self._lease_ms, self._c.claims + 1
        rows: list[Row[Any]] = []
        fresh = {"leased_ms": literal(until), "due_ms": literal(until), "claims": claimed}
        columns = [fresh[c.name].label(c.name) if c.name in fresh else c for c in self._c]
        async with database.transaction() as tx:
            for priority, most_of in sorted(take.items()):
                due = select(*columns).where(self._waits(priority, now), *where).order_by(self._c.due_ms)
                found = await tx.execute(due.limit(most_of).with_for_update(skip_locked=True))
                rows += found
            if rows:
                keys = [{f"key_{c.name}": row._mapping[c] for c in self.table.primary_key} for row in rows]
                this = (c == bindparam(f"key_{c.name}") for c in self.table.primary_key)
                lease = {"leased_ms": until, "due_ms": until, "claims": claimed}
                await tx.execute(update(self.table).where(*this).values(**lease), keys)
        return rows

    async def renew(self, tx: Transaction, row: Row[Any], **values: Any) -> bool:
        """Begin the lease of ``row`` again, with ``values``; False: another has claimed it since."""
        until = self.now_ms() + self._lease_ms
        due = case((self._untouched, until), else_=self._c.due_ms)
        return await self._write(tx, row, {**values, "leased_ms": until, "due_ms": due})

    async def release(
        self, tx: Transaction, row: Row[Any], *, due_ms: int | None = None, **values: Any
    ) -> bool:
        """Give ``row`` back with ``values``, to be claimed again at ``due_ms`` (None: when it is made due);
        at once where it was made due meanwhile. Forgets failures. False: another has claimed it since, and
        nothing is written."""
        due = case((self._untouched, due_ms), else_=self._c.due_ms)
        worked = {"attempts": 0, "failed_ms": None, "failing_since_ms": None}
        return await self._write(tx, row, {**worked, **values, "leased_ms": 0, "due_ms": due})

    async def give_back(self, tx: Transaction, row: Row[Any]) -> bool:
        """Leave ``row`` as it was claimed, due now, as when this process stops. False: another has it."""
        due = case((self._untouched, self.now_ms()), else_=self._c.due_ms)
        return await self._write(tx, row, {"leased_ms": 0, "due_ms": due})

    async def free(self, tx: Transaction) -> None:
        """Give back all claimed rows. A process that still holds one of them can write no more of it. At the
        start of a database's only process, its leases belong to dead processes."""
        due = case((self._untouched, self.now_ms()), else_=self._c.due_ms)
        values = {"leased_ms": 0, "due_ms": due, "claims": self._c.claims + 1}
        await tx.execute(update(self.table).where(self._c.leased_ms > 0).values(**values))

    async def recovered(self, tx: Transaction, *where: ColumnElement[bool]) -> None:
        """The dependency of the rows in ``where`` works: let them wait for their own failures alone."""
        own_ms = self._c.failed_ms + case(_OWN_DELAYS_MS, value=self._c.attempts, else_=_OWN_DELAYS_MS[10])
        waits = (self._c.priority.in_(set(_TURNS)), self._c.due_ms > self.now_ms(), self._c.leased_ms == 0)
        key = self.table.primary_key
        # a row that another transaction has locked is being made due, or claimed
        later = select(*key).where(*waits, self._c.due_ms > own_ms, *where).with_for_update(skip_locked=True)
        await tx.execute(update(self.table).where(tuple_(*key).in_(later)).values(due_ms=own_ms))

    async def done(self, tx: Transaction, row: Row[Any]) -> bool:
        """Delete ``row``, or release it where it was made due meanwhile. False: another has claimed it."""
        gone = await tx.execute(delete(self.table).where(self._mine(row), self._untouched))
        return gone.rowcount == 1 or await self.release(tx, row)

    def failure(
        self,
        row: Row[Any],
        availability: Availability,
        error: BaseException | None = None,
        *,
        own: bool | None = None,
    ) -> dict[str, Any]:
        """The values for ``release`` after ``error``: when to try ``row`` again, and what is remembered of
        its failures. ``own``: whose it is, where the caller knows. ``due_ms`` None: its own failures have
        lasted so long that it is given up."""
        now = self._clock()
        before = None if row.failed_ms is None else row.failed_ms / 1000
        own = is_own(error, availability, before) if own is None else own
        alone = own is None and not availability.is_down and availability.has_counted(before)
        if alone:  # one entity that fails again and again holds no other
            own = False
        elif own is None:
            own = availability.failed(before, now)
        elif not own:
            availability.failed(None, now)
        now_ms, since_ms = round(now * 1000), row.failing_since_ms
        if own:
            since_ms = since_ms or now_ms
        elif since_ms is not None and availability.is_down:  # then it need not have been its own
            since_ms += now_ms - (row.failed_ms or now_ms)
        values: dict[str, Any] = {
            "attempts": row.attempts + own,
            "failed_ms": now_ms,
            "failing_since_ms": since_ms,
        }
        if own and is_given_up(since_ms / 1000, now):
            return {"attempts": 0, "failed_ms": None, "failing_since_ms": None, "due_ms": None}
        wait_s = own_delay_s(values["attempts"]) if own else max(_FAILED_DELAY_S, availability.pause_s())
        if alone and before is not None:
            wait_s = min(max(wait_s, 2 * (now - before)), availability.longest_s(now))
        asked_s = (isinstance(error, BridgeError) and error.retry_after_s) or 0
        return values | {"due_ms": now_ms + round(max(wait_s, min(asked_s, ASKED_MAX_S)) * 1000)}

    async def depth(self, reader: Reader, most: int = 10_000) -> dict[int, int]:
        """How many rows are due, by priority; ``most`` stands for that many or more."""
        counts = await self._count(reader, most, self.now_ms())
        return {priority: counts[priority] for priority in sorted(set(_TURNS))}

    async def _count(self, reader: Reader, most: int, now: int, *where: ColumnElement[bool]) -> Counter[int]:
        counts = self._counting(*where) if where else self._counting_all
        found: Any = await reader.execute(counts, {"most": most, "now": now})
        return Counter({priority: count for priority, count in found if count})

    @cached_property
    def _counting_all(self) -> CompoundSelect[Any]:
        """Built once: building it costs more than asking an idle queue."""
        return self._counting()

    def _counting(self, *where: ColumnElement[bool]) -> CompoundSelect[Any]:
        """The statement of ``_count``."""
        counts = []
        for priority in set(_TURNS):
            due = select(self._c.due_ms).where(self._waits(priority, bindparam("now")), *where)
            few = due.order_by(self._c.due_ms).limit(bindparam("most")).subquery()
            counts.append(select(literal(priority), func.count()).select_from(few))
        return union_all(*counts)

    def _waits(self, priority: int, now: int | ColumnElement[int]) -> ColumnElement[bool]:
        due = and_(self._c.due_ms <= now, self._c.leased_ms <= now)
        return and_(self._c.priority == priority, due, *self._only)

    @property
    def _untouched(self) -> ColumnElement[bool]:
        return self._c.due_ms == self._c.leased_ms

    def _mine(self, row: Row[Any]) -> ColumnElement[bool]:
        same = (column == row._mapping[column] for column in self.table.primary_key)
        return and_(*same, self._c.claims == row.claims)

    async def _write(self, tx: Transaction, row: Row[Any], values: Mapping[str, Any]) -> bool:
        return (await tx.execute(update(self.table).where(self._mine(row)).values(**values))).rowcount == 1
