"""The runs of full syncs, durable: which there are, what is left to do, and what was read.

Which process works on a run is not decided here: an order from the inbox is one member's, by its key; a
command has a run of its own. If two processes work on one run all the same (a member that was frozen and
thaws), each step is done twice at worst, writes are guarded, and the one behind gets ``RunMoved``.
"""

import json
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Executable,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)

from dingbridge import Database, Reader, Transaction
from dingbridge.consumers.address_sync.sync.tables import runs, staged, todo
from dingbridge.errors import BridgeError

Cause = Literal["order", "command", "dry_run"]
State = Literal["reading", "applying", "refetching", "details", "done", "stopped", "dry_run", "superseded"]
"""``details``: a command's run whose rows are written, and that still fetches people's details."""

OPEN: tuple[State, ...] = ("reading", "applying", "refetching")

READ: tuple[State, ...] = ("details", "done")
"""All was read, and the rows are written."""

OPEN_FOR = timedelta(days=1)
"""A run that began earlier and never ended is given up when another begins."""

CLOCKS_DIFFER = timedelta(minutes=10)
"""By how much the clocks of the host that wrote an order and of this one may differ."""

KEPT = timedelta(days=366)
"""How long a run's row is kept."""

Entry = tuple[str, str]
"""Something to do: the step and what it is for."""

Unread = dict[str, dict[str, Any]]
"""What could not be read, by ``people``, ``departments`` and ``roles``: ``count``, and ``ids``, some of them
with DingTalk's code."""

START: Entry = ("scope", "*")
"""What every run begins with."""


@cache
def _next(steps: tuple[str, ...]) -> Executable:
    """Of each of ``steps`` the entry that is due first. Built once: it is asked for each entry."""
    firsts = (
        select(todo)
        .where(todo.c.run_id == bindparam("run_id"), todo.c.step == step)
        .order_by(todo.c.due_ms, todo.c.entity_id)
        .limit(1)
        .subquery()
        for step in steps
    )
    return union_all(*(select(first) for first in firsts))


class RunMoved(BridgeError):
    """Another process took this run further, or gave it up; nothing of this step was written."""


@dataclass(slots=True)
class Run:
    """One run. ``scope`` is what the app could see (None: not known), ``changed`` counts by kind of
    change."""

    run_id: str
    corp_id: str
    cause: Cause
    state: State
    began_at: datetime
    ended_at: datetime | None = None
    scope: dict[str, list[Any]] | None = None
    employees: int | None = None
    found: int | None = None
    leavers: int | None = None
    incomplete: str | None = None
    unread: Unread = field(default_factory=dict)
    calls: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    words: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN


class Runs:
    """The runs of one company in ``database``."""

    def __init__(self, database: Database, corp_id: str) -> None:
        self.database, self.corp_id = database, corp_id

    @property
    def reader(self) -> Reader:
        return self.database.reader()

    async def unfinished(self, cause: Cause) -> Run | None:
        """The latest run of ``cause`` that has not ended."""
        return await self.last(*OPEN, "details", where=runs.c.cause == cause)

    async def last(self, *states: State, where: ColumnElement[bool] | None = None) -> Run | None:
        """Of the runs in one of ``states`` the one that began last."""
        of_company = select(runs).where(runs.c.corp_id == self.corp_id, runs.c.state.in_(states))
        if where is not None:
            of_company = of_company.where(where)
        latest = of_company.order_by(runs.c.began_at.desc(), runs.c.run_id.desc()).limit(1)
        row = (await self.reader.execute(latest)).one_or_none()
        return None if row is None else _read(row)

    async def covers(self, moment: datetime) -> bool:
        """Return whether a run that certainly began after ``moment``, of another host's clock, has read the
        company."""
        later = runs.c.began_at > moment + CLOCKS_DIFFER
        return await self.last(*READ, "stopped", where=later) is not None

    async def begin(self, cause: Cause, run_id: str | None = None) -> Run:
        """Open a run; one that is there already under this ``run_id`` is returned as it is.

        Other runs of the same cause, and whatever was stopped or has been open for a day, are superseded.
        """
        run_id = run_id or uuid.uuid4().hex
        async with self.database.transaction() as tx:
            values = {"run_id": run_id, "corp_id": self.corp_id, "cause": cause, "state": "reading"}
            opened = await tx.execute(
                tx.insert(runs).values(**values, began_at=_now(), calls=0).on_conflict_do_nothing()
            )
            if opened.rowcount == 1:
                await self._supersede_others(tx, run_id, cause)
                await tx.execute(todo.insert().values(run_id=run_id, step=START[0], entity_id=START[1]))
        return await self._run(run_id)

    async def _supersede_others(self, tx: Transaction, run_id: str, cause: Cause) -> None:
        given_up = or_(
            runs.c.state == "stopped",
            and_(
                runs.c.state.in_(OPEN),
                or_(runs.c.cause == cause, runs.c.began_at < _now() - OPEN_FOR),
            ),
        )
        others = (runs.c.corp_id == self.corp_id, runs.c.run_id != run_id, given_up)
        for row in await tx.execute(select(runs.c.run_id).where(*others)):
            await self._empty(tx, row.run_id)
        await tx.execute(update(runs).where(*others).values(state="superseded", ended_at=_now()))
        rows_stand = (runs.c.corp_id == self.corp_id, runs.c.cause == cause, runs.c.state == "details")
        await tx.execute(update(runs).where(*rows_stand).values(state="done"))
        await tx.execute(delete(runs).where(runs.c.corp_id == self.corp_id, runs.c.ended_at < _now() - KEPT))

    async def reopen(self, run: Run) -> Run:
        """Open a stopped run again, to be confirmed by a command. Raises ``RunMoved``."""
        async with self.database.transaction() as tx:
            values = {"state": "reading", "cause": "command", "words": None, "ended_at": None}
            await self._update(tx, run, values)
        return await self._run(run.run_id)

    async def save(self, tx: Transaction, run: Run) -> None:
        """Write what is known of ``run``. Raises ``RunMoved``."""
        values = {
            "scope": None if run.scope is None else json.dumps(run.scope, sort_keys=True),
            "employees": run.employees,
            "found": run.found,
            "leavers": run.leavers,
            "incomplete": run.incomplete,
            "unread": json.dumps(run.unread, sort_keys=True),
            "calls": run.calls,
            "changed": json.dumps(run.changed, sort_keys=True),
            "words": run.words,
            "ended_at": run.ended_at,
        }
        await self._update(tx, run, values)

    async def advance(self, run: Run, state: State, to_do: Mapping[str, Select[Any]] | None = None) -> None:
        """Take ``run`` to its next ``state``, with what ``to_do`` selects for each step. Raises ``RunMoved``.

        What it read is dropped with its end, unless it may still be confirmed (``stopped``).
        """
        if state not in OPEN and run.ended_at is None:
            run.ended_at = _now()
        async with self.database.transaction() as tx:
            await self.save(tx, run)
            await self._update(tx, run, {"state": state})
            for step, found in (to_do or {}).items():
                await self.add_selected(tx, run, step, found)
            if state not in (*OPEN, "stopped"):
                await self._empty(tx, run.run_id)
        run.state = state

    async def _update(self, tx: Transaction, run: Run, values: Mapping[str, Any]) -> None:
        """``run.state`` is what this process last knew: if the row has another, another process is
        further."""
        known = (runs.c.run_id == run.run_id, runs.c.state == run.state)
        if (await tx.execute(update(runs).where(*known).values(**values))).rowcount != 1:
            raise RunMoved(
                "another process took this full sync further, or began a later one; nothing is lost: "
                "`dingbridge resync` starts another"
            )

    # What is left to do

    async def next_todo(self, run: Run, steps: Iterable[str], now_ms: int, last: str) -> Row[Any] | None:
        """A row that is due, of the first of ``steps`` that has one, but of ``last`` only when nothing else
        is left; if none is due, the row that will be soonest."""
        found = await self.reader.execute(_next(tuple(steps)), {"run_id": run.run_id})
        firsts = {row.step: row for row in found}
        if len(firsts) > 1:
            firsts.pop(last, None)
        in_order = [firsts[step] for step in steps if step in firsts]
        due = (row for row in in_order if row.due_ms <= now_ms)
        return next(due, min(in_order, key=lambda row: row.due_ms, default=None))

    async def put_back(self, run: Run, row: Row[Any], **values: Any) -> None:
        """Leave an entry that failed to later. Raises ``RunMoved``."""
        this = (todo.c.run_id == run.run_id, todo.c.step == row.step, todo.c.entity_id == row.entity_id)
        async with self.database.transaction() as tx:
            await self.save(tx, run)
            await tx.execute(update(todo).where(*this).values(**values))

    async def left(self, run: Run) -> int:
        """How many entries are to do."""
        count = select(func.count()).select_from(todo).where(todo.c.run_id == run.run_id)
        return int(await self.reader.scalar(count))

    async def add_todo(self, tx: Transaction, run: Run, entries: Collection[Entry]) -> None:
        if entries:
            rows = [{"run_id": run.run_id, "step": step, "entity_id": an_id} for step, an_id in entries]
            await tx.execute(tx.insert(todo).on_conflict_do_nothing(), rows)

    async def add_selected(self, tx: Transaction, run: Run, step: str, found: Select[Any]) -> None:
        """Add the ids that ``found`` selects."""
        rows = select(literal(run.run_id), literal(step), found.subquery().c[0])
        await tx.execute(todo.insert().from_select(["run_id", "step", "entity_id"], rows))

    async def done_todo(self, tx: Transaction, run: Run, entry: Entry) -> None:
        await tx.execute(
            delete(todo).where(
                todo.c.run_id == run.run_id, todo.c.step == entry[0], todo.c.entity_id == entry[1]
            )
        )

    async def stage(
        self,
        tx: Transaction,
        run: Run,
        kind: str,
        documents: Mapping[str, tuple[int, str]],
        listed_in: int = 0,
    ) -> None:
        """Store what was read: generation and document by the entity's id. A second one replaces the
        first."""
        if not documents:
            return
        statement = tx.insert(staged)
        statement = statement.on_conflict_do_update(
            index_elements=["run_id", "kind", "entity_id", "listed_in"],
            set_={"generation": statement.excluded.generation, "document": statement.excluded.document},
        )
        fixed = {"run_id": run.run_id, "kind": kind, "listed_in": listed_in}
        rows = [
            {**fixed, "entity_id": an_id, "generation": generation, "document": document}
            for an_id, (generation, document) in documents.items()
        ]
        await tx.execute(statement, rows)

    async def unstage(self, tx: Transaction, run: Run, kind: str, listed_in: int) -> None:
        """Delete what was read of one listing, before it is read again."""
        await tx.execute(
            delete(staged).where(
                staged.c.run_id == run.run_id, staged.c.kind == kind, staged.c.listed_in == listed_in
            )
        )

    async def _empty(self, tx: Transaction, run_id: str) -> None:
        await tx.execute(delete(todo).where(todo.c.run_id == run_id))
        await tx.execute(delete(staged).where(staged.c.run_id == run_id))

    async def _run(self, run_id: str) -> Run:
        return _read((await self.reader.execute(select(runs).where(runs.c.run_id == run_id))).one())


async def last_run(reader: Reader) -> Run | None:
    """The run that ended last, of any company."""
    ended = select(runs).where(runs.c.state.in_(READ)).order_by(runs.c.began_at.desc()).limit(1)
    row = (await reader.execute(ended)).one_or_none()
    return None if row is None else _read(row)


def count_change(run: Run, name: str, count: int) -> None:
    """Add ``count`` to the changes of ``run`` that are called ``name``."""
    if count:
        run.changed[name] = run.changed.get(name, 0) + count


def _read(row: Row[Any]) -> Run:
    values = dict(row._mapping)
    values["scope"] = None if row.scope is None else json.loads(row.scope)
    values |= {name: json.loads(values[name] or "{}") for name in ("changed", "unread")}
    return Run(**values)


def _now() -> datetime:
    return datetime.now(UTC)
