"""Writes the effects of events in transactions that several of them share.

BEGIN, the inbox rows and COMMIT with its fsync cost more than most handlers. So prepared events of different
keys share a transaction: their inbox rows are one statement, their handlers run in turn. An exception of one
handler rolls all back. That event alone has failed; the others are tried again as they are.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, cast

from dingbridge.worker.attempts.watchdog import CANCEL_GRACE_S, TooLong, Turn, Watchdog
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.store import inbox
from dingbridge.worker.store.database import ANSWER_TIMEOUT_S, POOL_SIZE, Database
from dingbridge.worker.store.errors import DatabaseDown, answered
from dingbridge.worker.store.transaction import Transaction

MOST_EVENTS: Final = 32
"""Events in one transaction, at most."""

FIRST_SIZE: Final = 8
"""How many it is at first; doubled while their handlers take less than ``GROW_BELOW_S``, halved above
``BUDGET_S`` and after a roll-back."""

GROW_BELOW_S: Final = 0.04
"""Twice as many then stay below ``BUDGET_S``. A lower bound keeps a busy machine at one event for each
transaction, which costs it most."""

BUDGET_S: Final = 0.1
"""How long the handlers of one transaction may take together, in s: what is left then has the next one."""

SHARED_LIMIT_S: Final = 1.0
"""How long one handler may take while others wait for the same COMMIT, in s. Past it, it is cancelled, and
events of its type have transactions of their own until one takes less than ``BUDGET_S``."""

LOCK_WAIT_S: Final = 2.0
"""How long the inbox rows of several events may wait for another process that writes one of them, in s."""

MOST_GROUPS: Final = POOL_SIZE - 4
AT_ONCE: Final = 4
"""Transactions that run at once however few events wait; more do when enough wait to fill them."""

Result = Literal["done", "seen", "partly", "given_up"]
"""``done``: the effect is committed. ``seen``: it was before. ``partly``: of several events, some were.
``given_up``: the event was given up before."""

PING_TIMEOUT_S: Final = 5
"""How long the database may take to answer a ``SELECT 1`` after a handler ran out of time, in s."""


@dataclass(slots=True, eq=False)
class Job:
    """Events that one call of a handler is for, nearly always one. ``attempt`` counts from 1. ``hashes`` are
    of their inbox rows, each once. ``handle`` calls the handler, and again after a roll-back."""

    attempt: int
    type: str
    hashes: Sequence[bytes]
    handle: Callable[[Transaction], Awaitable[None]]
    alone: bool = False
    done: "asyncio.Future[Result]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    let_go: "asyncio.Future[None] | None" = None
    """Set when nothing works on it any more; made when it is withdrawn."""

    def end(self, result: Result | BaseException) -> None:
        """Tell whoever waits how it ended."""
        if not self.done.done():
            if isinstance(result, BaseException):
                self.done.set_exception(result)
            else:
                self.done.set_result(result)
        if self.let_go is not None and not self.let_go.done():
            self.let_go.set_result(None)


class _Withdrawn(Exception):
    """The event whose handler ran is no longer this member's."""


@dataclass(slots=True, eq=False)
class _Group:
    """The jobs of one transaction: ``left`` were not come to, ``current`` is the one whose handler runs."""

    jobs: list[Job]
    results: dict[Job, Result] = field(default_factory=dict)
    left: list[Job] = field(default_factory=list)
    current: Job | None = None
    turn: Turn | None = None


class GroupTransactions:
    """The transactions of one consumer's events."""

    def __init__(self, consumer: Consumer, database: Database, watchdog: Watchdog) -> None:
        self._consumer, self.database, self._watchdog = consumer, database, watchdog
        self._alone_types: set[str] = set()
        self._waiting: deque[Job] = deque()
        self._size = FIRST_SIZE
        self._groups: dict[asyncio.Task[None], _Group | None] = {}
        self.applied_lately: deque[bytes] = deque(maxlen=MOST_GROUPS)
        """An inbox row of each of the last transactions: a database that lacks one went back in time."""
        # SQLite has one writer; some of PostgreSQL's connections are left for work beside the events
        self._most = 1 if database.dialect == "sqlite" else MOST_GROUPS

    async def apply(self, job: Job) -> Result:
        """Call the handler of ``job`` in a transaction that holds its inbox rows, and commit that. Raises
        what the handler raised, or ``DatabaseDown``. Cancelled, it has no effect, or the whole effect."""
        self._waiting.append(job)
        self._start()
        try:
            return await job.done
        except asyncio.CancelledError:
            await self._withdraw(job)
            raise

    async def close(self) -> None:
        """End what runs; nothing of it is committed."""
        for task in tuple(self._groups):
            task.cancel()
        if self._groups:
            await asyncio.wait(tuple(self._groups), timeout=CANCEL_GRACE_S)

    def _start(self) -> None:
        running = len(self._groups)
        if running < min(AT_ONCE, self._most) or (running < self._most and len(self._waiting) >= self._size):
            task = asyncio.create_task(self._run())
            self._groups[task] = None
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        group = self._groups.pop(task, None)
        for job in group.jobs if group is not None else ():
            job.done.cancel()
            job.end("seen")
        if self._waiting and not task.cancelled():
            self._start()

    async def _withdraw(self, job: Job) -> None:
        """``job`` is not to be done: wait until nothing works on it."""
        if job in self._waiting:
            self._waiting.remove(job)
            return
        group = next((g for g in self._groups.values() if g is not None and job in g.jobs), None)
        if group is None:
            return
        job.let_go = asyncio.get_running_loop().create_future()
        if group.current is job and group.turn is not None:
            group.turn.cut()
        await job.let_go

    async def _run(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        while jobs := self._take():
            group = self._groups[task] = _Group(jobs)
            if self._waiting:  # they must not wait for this one
                self._start()
            try:
                await self._apply(group)
            except _Withdrawn:
                self._again(group.jobs)
            except Exception as error:
                await self._failed(group, error)
            else:
                for job, result in group.results.items():
                    if result == "done":
                        self.applied_lately.append(job.hashes[0])
                    job.end(result)
                self._again(group.left)
            self._groups[task] = None

    def _take(self) -> list[Job]:
        """The jobs of the next transaction; none if none waits."""
        taken: list[Job] = []
        hashes: set[bytes] = set()
        while self._waiting and len(taken) < self._size:
            job = self._waiting[0]
            alone = self._consumer.alone or job.alone or job.type in self._alone_types
            if taken and (alone or not hashes.isdisjoint(job.hashes)):  # the same event under two keys
                break
            taken.append(self._waiting.popleft())
            hashes.update(job.hashes)
            if alone:
                break
        return taken

    def _again(self, jobs: Sequence[Job]) -> None:
        """Put ``jobs`` back, before all jobs that came later."""
        for job in reversed(jobs):
            if job.done.done():
                job.end("seen")
            else:
                self._waiting.appendleft(job)

    async def _apply(self, group: _Group) -> None:
        async with self.database.transaction() as tx:
            fresh = await self._enter(tx, group)
            began = time.monotonic()
            if fresh:
                await self._handle_all(tx, group, fresh)
            took_s = time.monotonic() - began
            if group.left:
                await inbox.withdraw(tx, [hash_ for job in group.left for hash_ in job.hashes])
        if took_s > BUDGET_S:
            self._size = max(1, self._size // 2)
        elif took_s < GROW_BELOW_S and len(group.jobs) >= self._size:
            self._size = min(MOST_EVENTS, self._size * 2)
        if len(group.jobs) == 1 and took_s < BUDGET_S:
            self._alone_types.discard(group.jobs[0].type)

    async def _enter(self, tx: Transaction, group: _Group) -> list[Job]:
        """Write the inbox rows. Returns the jobs whose handlers are to be called."""
        # Invariant 5: the inbox rows stand in the transaction of the effects
        rows = {hash_: job.attempt for job in group.jobs for hash_ in job.hashes}
        if len(group.jobs) == 1:
            # another process may handle the same event; if that is frozen, the server ends its transaction
            async with answered(self._consumer.handler_timeout_s + ANSWER_TIMEOUT_S):
                entered = await inbox.enter(tx, list(rows.items()))
        else:
            async with asyncio.timeout(LOCK_WAIT_S):
                entered = await inbox.enter(tx, list(rows.items()))
        if len(entered) == len(rows):
            return group.jobs
        return await self._without_known(tx, group, entered)

    async def _without_known(self, tx: Transaction, group: _Group, entered: set[bytes]) -> list[Job]:
        known = await inbox.attempts_of(
            tx, [hash_ for job in group.jobs for hash_ in job.hashes if hash_ not in entered]
        )
        fresh: list[Job] = []
        for job in group.jobs:
            mine = entered.intersection(job.hashes)
            if len(mine) == len(job.hashes):
                fresh.append(job)
                continue
            if mine:
                await inbox.withdraw(tx, mine)
                group.results[job] = "partly"
            else:
                group.results[job] = "given_up" if known.get(job.hashes[-1], 1) is None else "seen"
        return fresh

    async def _handle_all(self, tx: Transaction, group: _Group, fresh: Sequence[Job]) -> None:
        """Call the handlers in a task of their own, which may be left behind when one does not end."""
        stuck = asyncio.get_running_loop().create_future()
        turn = group.turn = Turn(self._watchdog, lambda _: stuck.set_result(None))
        task = turn.task = asyncio.create_task(self._handle_in_turn(tx, group, fresh, turn))
        self._watchdog.turns.add(turn)
        try:
            await asyncio.wait((task, stuck), return_when=asyncio.FIRST_COMPLETED)
            if task.cancelled():
                raise _Withdrawn
            if task.done():
                task.result()
                return
            raise TooLong("handle", turn.limit_s)
        finally:
            self._watchdog.turns.discard(turn)
            if not task.done():
                await self._leave(task, turn, tx)

    async def _leave(self, task: asyncio.Task[None], turn: Turn, tx: Transaction) -> None:
        """``task`` does not end, or is not to: nothing of it is committed."""
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        if not turn.stuck:
            turn.cut()
            await asyncio.wait((task,), timeout=CANCEL_GRACE_S)
        if not task.done():
            tx.abandon()

    async def _handle_in_turn(self, tx: Transaction, group: _Group, fresh: Sequence[Job], turn: Turn) -> None:
        limit_s = self._consumer.handler_timeout_s
        if len(group.jobs) > 1:
            limit_s = min(limit_s, SHARED_LIMIT_S)
        began = time.monotonic()
        for n, job in enumerate(fresh):
            if n and time.monotonic() - began > BUDGET_S:
                group.left += fresh[n:]
                return
            if job.done.done():  # withdrawn meanwhile
                group.left.append(job)
                continue
            group.current = job
            await turn.run("handle", job.handle(tx), limit_s)
            tx.check_statements()
            group.current = None
            group.results[job] = "done"

    async def _failed(self, group: _Group, error: Exception) -> None:
        """Nothing of ``group`` was committed. ``error`` is of the job whose handler ran, else of none."""
        self._size = max(1, self._size // 2)
        job, others = group.current, [one for one in group.jobs if one is not group.current]
        if isinstance(error, TooLong):
            if not await self.database.answers(PING_TIMEOUT_S):
                # a database that hangs makes every handler hang; the event does not cause it
                error = DatabaseDown("the database does not answer")
            elif others and job is not None:
                self._alone_types.add(job.type)
                self._again(group.jobs)
                return
        if isinstance(error, DatabaseDown) or len(group.jobs) == 1:
            for one in group.jobs:
                one.end(error)
            return
        if job is None:  # a lock that was not given, or COMMIT: of which event is not known
            for one in others:
                one.alone = True
        else:
            job.end(error)
        self._again(others)
