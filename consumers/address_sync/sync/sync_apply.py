"""The second step of a full sync: makes the tables equal to what was read.

What was read is a fetch like any other, with the generation that it began with: who was fetched since, for an
event, is left to be fetched once more (``refetch.py``). So is who is new or differs, since a listing does not
tell all (``mapping.listed_state``), and everybody who was not read.
"""

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import delete, func, select

from consumers.address_sync import store
from consumers.address_sync.mapping import UserState, department_row, listed_state, roles_state, user_state
from consumers.address_sync.sync.runs import Entry, Run, Runs, count_change
from consumers.address_sync.sync.safety import missing_departments, missing_users
from consumers.address_sync.sync.sync_read import Progress
from consumers.address_sync.sync.tables import staged
from consumers.address_sync.tables import guard
from dingbridge import Conflict, Transaction

CHUNK: Final = 100
"""Entities written in one transaction: it must not hold SQLite's only writer for long."""


class _DryRun(Exception):
    """No error: it rolls a transaction back."""


class Applier:
    """Applies one run. With ``dry`` every transaction is rolled back, and only the counting remains."""

    def __init__(self, runs: Runs, run: Run, progress: Progress, *, dry: bool = False) -> None:
        self._runs, self._run, self._progress, self._dry = runs, run, progress, dry
        self._applied = 0

    async def begin(self, *, mark: bool) -> None:
        """List who and what was not read, to be fetched by name, if the run may ``mark`` them."""
        run = self._run
        entries: list[Entry] = []
        if mark:
            gone = await missing_departments(self._runs, run)
            entries = [("gone_department", dept_id) for dept_id in gone]
            people = await self._runs.reader.execute(missing_users(run))
            entries += [("gone", row.userid) for row in people]
        if self._dry:
            run.changed = dict(
                Counter("people_gone" if e[0] == "gone" else "departments_gone" for e in entries)
            )
            return
        await self._runs.advance(run, "applying", entries)

    async def apply(self, in_time: Callable[[], bool]) -> bool:
        """Write what was read while ``in_time()``, in an order that leaves nothing to point at what is not
        there; returns whether all is written."""
        for kind in ("department", "roles"):
            last = ""
            while ids := await self._next(kind, last):
                last = ids[-1]
                await self._chunk(kind, ids, {})
                if not in_time():
                    return False
        holders = await self._role_holders()
        last = ""
        while ids := await self._next("user", last):
            last = ids[-1]
            await self._chunk("user", ids, holders)
            if not in_time():
                return False
        if not self._dry:
            await self._runs.advance(self._run, "refetching")
        return True

    async def _chunk(self, kind: str, ids: list[str], holders: dict[str, set[int]] | None) -> None:
        while True:
            changed = dict(self._run.changed)
            try:
                async with self._writing() as tx:
                    await self._write(tx, kind, ids, holders)
                    await self._runs.save(tx, self._run)
                break
            except Conflict:  # PostgreSQL rolled back because of another transaction
                self._run.changed = changed
        self._applied += len(ids)
        left = 0 if self._dry else await self._left()
        self._progress(self._applied, self._applied + left)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Transaction]:
        try:
            async with self._runs.database.transaction() as tx:
                yield tx
                if self._dry:
                    raise _DryRun
        except _DryRun:
            return

    async def _write(
        self, tx: Transaction, kind: str, ids: list[str], holders: dict[str, set[int]] | None
    ) -> None:
        run = self._run
        of_chunk = (staged.c.run_id == run.run_id, staged.c.kind == kind, staged.c.entity_id.in_(ids))
        rows = (await tx.execute(select(staged).where(*of_chunk).order_by(staged.c.dept_id))).all()
        # of a user in several departments, the oldest fetch counts: an event's may have come in between
        generations: dict[str, int] = {}
        documents: dict[str, dict[int, Any]] = defaultdict(dict)
        for row in rows:
            generations[row.entity_id] = min(generations.get(row.entity_id, row.generation), row.generation)
            documents[row.entity_id][row.dept_id] = json.loads(row.document)
        claimed = await guard.claim_many(tx, run.corp_id, kind, generations, began_at=run.began_at)
        entries: list[Entry] = [
            ("fetch" if kind == "user" else f"fetch_{kind}", an_id) for an_id in generations.keys() - claimed
        ]
        now = datetime.now(UTC)
        for an_id in sorted(claimed):
            change = await self._one(tx, kind, an_id, documents[an_id], holders, now)
            if kind == "user" and change is not None and 0 not in documents[an_id]:
                entries.append(("detail", an_id))
        if not self._dry:
            await self._runs.add_todo(tx, run, entries)
        await tx.execute(delete(staged).where(*of_chunk))

    async def _one(
        self,
        tx: Transaction,
        kind: str,
        an_id: str,
        documents: dict[int, Any],
        holders: dict[str, set[int]] | None,
        now: datetime,
    ) -> store.Change | None:
        corp_id = self._run.corp_id
        if kind == "roles":
            changed = await store.write_roles(tx, corp_id, roles_state(documents[0]), at=now)
            count_change(self._run, "roles_changed", changed)
            return None
        if kind == "department":
            row = department_row(documents[0])
            change = await store.write_department(tx, corp_id, int(an_id), row, at=now)
            count_change(self._run, f"departments_{change}", int(change is not None))
            return change
        roles = None if holders is None else frozenset(holders.get(an_id, ()))
        state: UserState
        if (whole := documents.get(0)) is None:
            state = listed_state(documents, roles)
        else:  # asked for by name
            state = user_state(whole)
            if roles is not None:
                state = replace(state, roles=roles, role_names={})
            await store.name_roles(tx, corp_id, state.role_names, at=now)
        change = await store.write_user(tx, corp_id, an_id, state, at=now)
        count_change(self._run, f"people_{change}", int(change is not None))
        return change

    async def _role_holders(self) -> dict[str, set[int]] | None:
        """The ids of everybody's roles; None when the app may not list roles."""
        rows = await self._runs.reader.execute(
            select(staged.c.entity_id, staged.c.document).where(
                staged.c.run_id == self._run.run_id, staged.c.kind == "role_users"
            )
        )
        found: dict[str, set[int]] = defaultdict(set)
        told = False
        for row in rows:
            told = True
            for userid in json.loads(row.document):
                found[userid].add(int(row.entity_id))
        return found if told else None

    async def _next(self, kind: str, after: str) -> list[str]:
        rows = await self._runs.reader.execute(
            select(staged.c.entity_id)
            .where(staged.c.run_id == self._run.run_id, staged.c.kind == kind, staged.c.entity_id > after)
            .distinct()
            .order_by(staged.c.entity_id)
            .limit(CHUNK)
        )
        return [row.entity_id for row in rows]

    async def _left(self) -> int:
        return int(
            await self._runs.reader.scalar(
                select(func.count(func.distinct(staged.c.entity_id))).where(
                    staged.c.run_id == self._run.run_id, staged.c.kind.in_(("user", "department"))
                )
            )
        )
