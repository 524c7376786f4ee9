"""The runs of full syncs, durable: which there are, what is left to do, and who works on one.

A run is *held* by one process for a while, which it prolongs with every step and while one lasts. That two
processes do the same work only costs calls: every step may be done twice, and what is written is guarded. Not
here: the steps.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, delete, func, select, update

from consumers.address_sync.sync_tables import runs, staged, todo
from dingbridge import Conflict, Database, DatabaseDown, Reader, Transaction
from dingbridge.dingtalk.budget import Priority
from dingbridge.errors import BridgeError

Part = Literal["all", "departments"]
Cause = Literal["first", "event", "reconcile", "command", "dry_run"]
State = Literal["waiting", "reading", "applying", "looking", "done", "stopped", "dry_run", "superseded"]

OPEN: tuple[State, ...] = ("reading", "applying", "looking")

HELD_FOR = timedelta(seconds=90)
"""How long after a process was last heard of another may go on with its run."""

PROLONG_EVERY_S = HELD_FOR.total_seconds() / 6
"""A step may take longer than that: a department has many pages, and calls may be spaced far apart."""

KEPT = timedelta(days=366)
"""How long it is remembered that a run was."""

Entry = tuple[str, str]
"""Something to do: the step and what it is for."""

START: Entry = ("scope", "*")
"""What every run begins with."""


class RunTaken(BridgeError):
    """Another process goes on with the run, since this one fell silent; nothing of this step was written."""


@dataclass(slots=True)
class Run:
    """One run. ``scope`` is what the app could see (None: not told), ``changed`` counts by kind of change."""

    run_id: str
    corp_id: str
    cause: Cause
    part: Part
    details: bool
    state: State
    began_at: datetime
    held_until: datetime | None = None
    holder: str | None = None
    ended_at: datetime | None = None
    scope: dict[str, list[Any]] | None = None
    employees: int | None = None
    found: int | None = None
    leavers: int | None = None
    incomplete: str | None = None
    calls: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    words: str | None = None

    @property
    def priority(self) -> Priority:
        return Priority.RECONCILE if self.cause == "reconcile" else Priority.RESYNC


async def request(tx: Transaction, corp_id: str, part: Part) -> None:
    """Ask for a run, for an event that does not say what changed; once is enough until it begins."""
    waiting = (runs.c.corp_id == corp_id, runs.c.state == "waiting", runs.c.part == part)
    if await tx.scalar(select(runs.c.run_id).where(*waiting).limit(1)) is None:
        await tx.execute(runs.insert().values(**_new(corp_id, "event", part, "waiting")))


class Runs:
    """The runs of one company in ``database``; ``holder`` names this process."""

    def __init__(self, database: Database, corp_id: str) -> None:
        self.database, self.corp_id = database, corp_id
        self.holder = uuid.uuid4().hex

    @property
    def reader(self) -> Reader:
        return self.database.reader()

    async def under_way(self) -> Run | None:
        """The run that is open, held by whomever."""
        return await self._one(runs.c.open_for == self.corp_id)

    async def waiting(self) -> list[Run]:
        """What events asked for and nobody has begun."""
        return await self._all(runs.c.state == "waiting")

    async def ended(self, *states: State, part: Part = "all") -> list[Run]:
        """The runs of ``part`` that ended in one of ``states``, the oldest first."""
        return await self._all(runs.c.state.in_(states), runs.c.part == part)

    async def begin(self, cause: Cause, part: Part, *, details: bool = False) -> Run | None:
        """Open a run and hold it; None when one is under way. A stopped one is superseded, and of what events
        asked for that is done which this run covers."""
        values = _new(self.corp_id, cause, part, "reading", details=details, open_for=self.corp_id)
        values |= {"holder": self.holder, "held_until": _now() + HELD_FOR}
        async with self.database.transaction() as tx:
            opened = await tx.execute(tx.insert(runs).values(**values).on_conflict_do_nothing())
            if opened.rowcount != 1:
                return None
            covered = ("all", "departments") if part == "all" else ("departments",)
            await tx.execute(
                delete(runs).where(
                    runs.c.corp_id == self.corp_id, runs.c.state == "waiting", runs.c.part.in_(covered)
                )
            )
            stopped = (runs.c.corp_id == self.corp_id, runs.c.state == "stopped")
            for row in await tx.execute(select(runs.c.run_id).where(*stopped)):
                await self._empty(tx, row.run_id)
            await tx.execute(update(runs).where(*stopped).values(state="superseded"))
            await tx.execute(
                delete(runs).where(runs.c.corp_id == self.corp_id, runs.c.ended_at < _now() - KEPT)
            )
            await tx.execute(todo.insert().values(run_id=values["run_id"], step=START[0], entity_id=START[1]))
        return await self._one(runs.c.run_id == values["run_id"])

    async def take(self, run: Run) -> bool:
        """Hold ``run``, unless another process does."""
        free = (runs.c.holder.is_(None)) | (runs.c.holder == self.holder) | (runs.c.held_until < _now())
        async with self.database.transaction() as tx:
            taken = await tx.execute(
                update(runs)
                .where(runs.c.run_id == run.run_id, runs.c.open_for == self.corp_id, free)
                .values(holder=self.holder, held_until=_now() + HELD_FOR)
            )
        return taken.rowcount == 1

    async def go_on(self) -> Run | None:
        """The run that is under way, if this process now holds it. One that was to change nothing, and whose
        process ended on its way, is closed instead."""
        run = await self.under_way()
        if run is None or not await self.take(run):
            return None
        if run.cause == "dry_run":
            await self.end(run, "superseded")
            return None
        return run

    @asynccontextmanager
    async def holding(self, run: Run) -> AsyncIterator[None]:
        """Prolong the hold on ``run`` in the meantime, however long a step takes."""
        prolonging = asyncio.create_task(self._prolong(run.run_id))
        try:
            yield
        finally:
            prolonging.cancel()
            await asyncio.wait([prolonging])

    async def _prolong(self, run_id: str) -> None:
        held = (runs.c.run_id == run_id, runs.c.holder == self.holder)
        while True:
            await asyncio.sleep(PROLONG_EVERY_S)
            with suppress(DatabaseDown, Conflict):  # the next time; or the step itself says so
                async with self.database.transaction() as tx:
                    values = {"held_until": _now() + HELD_FOR}
                    if (await tx.execute(update(runs).where(*held).values(**values))).rowcount != 1:
                        return  # taken, or ended: ``save`` says which

    async def let_go(self, run: Run) -> None:
        """Another process may go on with it."""
        async with self.database.transaction() as tx:
            await tx.execute(
                update(runs)
                .where(runs.c.run_id == run.run_id, runs.c.holder == self.holder)
                .values(holder=None, held_until=None)
            )

    async def reopen(self, run: Run, *, state: State) -> bool:
        """Open a stopped run again, in ``state``; False when another is under way."""
        async with self.database.transaction() as tx:
            others = await tx.scalar(select(runs.c.run_id).where(runs.c.open_for == self.corp_id))
            if others is not None:
                return False
            values = {"open_for": self.corp_id, "holder": self.holder, "held_until": _now() + HELD_FOR}
            opened = await tx.execute(
                update(runs)
                .where(runs.c.run_id == run.run_id, runs.c.state == "stopped")
                .values(**values, state=state, words=None, ended_at=None)
            )
            if opened.rowcount != 1:
                return False
        run.state, run.words, run.ended_at = state, None, None
        return True

    async def save(self, tx: Transaction, run: Run) -> None:
        """Write what is known of ``run`` and prolong the hold on it. Raises ``RunTaken``."""
        values = {
            "state": run.state,
            "scope": None if run.scope is None else json.dumps(run.scope, sort_keys=True),
            "employees": run.employees,
            "found": run.found,
            "leavers": run.leavers,
            "incomplete": run.incomplete,
            "calls": run.calls,
            "changed": json.dumps(run.changed, sort_keys=True),
            "words": run.words,
            "ended_at": run.ended_at,
            "held_until": _now() + HELD_FOR,
        }
        if run.state not in OPEN:
            values |= {"open_for": None, "holder": None, "held_until": None}
        held = (runs.c.run_id == run.run_id, runs.c.holder == self.holder)
        if (await tx.execute(update(runs).where(*held).values(**values))).rowcount != 1:
            raise RunTaken("another process goes on with this resync; `dingbridge resync` shows how it ended")

    async def end(self, run: Run, state: State, words: str | None = None) -> None:
        """Close ``run``. What it read is dropped, unless it may still be confirmed (``stopped``)."""
        run.state, run.words, run.ended_at = state, words, _now()
        async with self.database.transaction() as tx:
            await self.save(tx, run)
            if state != "stopped":
                await self._empty(tx, run.run_id)

    # What is left to do

    async def next_todo(self, run: Run, steps: Iterable[str]) -> Entry | None:
        """Something to do of the first of ``steps`` that has any."""
        for step in steps:
            found = await self.reader.scalar(
                select(todo.c.entity_id)
                .where(todo.c.run_id == run.run_id, todo.c.step == step)
                .order_by(todo.c.entity_id)
                .limit(1)
            )
            if found is not None:
                return step, str(found)
        return None

    async def left(self, run: Run) -> dict[str, int]:
        """How much is to do, by step."""
        rows = await self.reader.execute(
            select(todo.c.step, func.count().label("entries"))
            .where(todo.c.run_id == run.run_id)
            .group_by(todo.c.step)
        )
        return {row.step: row.entries for row in rows}

    async def add_todo(self, tx: Transaction, run: Run, entries: Collection[Entry]) -> None:
        if entries:
            rows = [{"run_id": run.run_id, "step": step, "entity_id": an_id} for step, an_id in entries]
            await tx.execute(tx.insert(todo).on_conflict_do_nothing(), rows)

    async def done_todo(self, tx: Transaction, run: Run, entry: Entry) -> None:
        await tx.execute(
            delete(todo).where(
                todo.c.run_id == run.run_id, todo.c.step == entry[0], todo.c.entity_id == entry[1]
            )
        )

    async def stage(
        self, tx: Transaction, run: Run, kind: str, documents: Mapping[str, tuple[int, str]], dept_id: int = 0
    ) -> None:
        """Keep what was read: generation and document by the entity's id. Once more replaces."""
        if not documents:
            return
        statement = tx.insert(staged)
        statement = statement.on_conflict_do_update(
            index_elements=["run_id", "kind", "entity_id", "dept_id"],
            set_={"generation": statement.excluded.generation, "document": statement.excluded.document},
        )
        fixed = {"run_id": run.run_id, "kind": kind, "dept_id": dept_id}
        rows = [
            {**fixed, "entity_id": an_id, "generation": generation, "document": document}
            for an_id, (generation, document) in documents.items()
        ]
        await tx.execute(statement, rows)

    async def _empty(self, tx: Transaction, run_id: str) -> None:
        await tx.execute(delete(todo).where(todo.c.run_id == run_id))
        await tx.execute(delete(staged).where(staged.c.run_id == run_id))

    async def _one(self, where: Any) -> Run | None:
        found = await self._all(where)
        return found[0] if found else None

    async def _all(self, *where: Any) -> list[Run]:
        rows = await self.reader.execute(
            select(runs)
            .where(runs.c.corp_id == self.corp_id, *where)
            .order_by(runs.c.began_at, runs.c.run_id)
        )
        return [_read(row) for row in rows]


def _new(corp_id: str, cause: Cause, part: Part, state: State, **more: Any) -> dict[str, Any]:
    return {
        "run_id": uuid.uuid4().hex,
        "corp_id": corp_id,
        "cause": cause,
        "part": part,
        "details": False,
        "state": state,
        "began_at": _now(),
        "calls": 0,
        **more,
    }


def _read(row: Row[Any]) -> Run:
    values = {name: value for name, value in row._mapping.items() if name != "open_for"}
    values["scope"] = None if row.scope is None else json.loads(row.scope)
    values["changed"] = json.loads(row.changed) if row.changed else {}
    return Run(**values)


def _now() -> datetime:
    return datetime.now(UTC)
