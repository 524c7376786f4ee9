"""The second step of a full sync: makes the tables equal to what was read.

What was read counts as a fetch, with the generation from before it. Whoever was fetched for an event since,
or was not read, is fetched once more (``refetch.py``). A listing lacks some fields
(``mapping.listed_state``), so people who are new or differ are fetched later (``details.py``).
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Text, cast, delete, func, select, union

from dingbridge import Conflict, Transaction
from dingbridge.consumers.address_sync import store
from dingbridge.consumers.address_sync.fetcher import ROLES
from dingbridge.consumers.address_sync.mapping import (
    UserState,
    department_row,
    listed_state,
    roles_state,
    user_state,
)
from dingbridge.consumers.address_sync.sync.runs import Run, Runs, count_change
from dingbridge.consumers.address_sync.sync.safety import missing_departments, missing_users
from dingbridge.consumers.address_sync.sync.tables import staged
from dingbridge.consumers.address_sync.sync.worklist import UNREAD, Progress
from dingbridge.consumers.address_sync.tables import guard, user_roles

CHUNK: Final = 200
"""Entities written in one transaction: it must not hold SQLite's only writer for long."""


class _DryRun(Exception):
    """Raised to roll a transaction back; no error."""


class Applier:
    """Applies one run. With ``dry`` every transaction is rolled back, and only the counting remains."""

    def __init__(self, runs: Runs, run: Run, progress: Progress, *, dry: bool = False) -> None:
        self._runs, self._run, self._progress, self._dry = runs, run, progress, dry
        self._applied = self._left = 0

    async def begin(self, *, mark: bool) -> None:
        """List who and what was not read, to be fetched by name, if the run may ``mark`` them."""
        run, reader = self._run, self._runs.reader
        gone = {"gone": missing_users(run), "gone_department": missing_departments(run)} if mark else {}
        if self._dry:
            counts = {
                "people_gone" if step == "gone" else "departments_gone": int(
                    await reader.scalar(select(func.count()).select_from(found.subquery()))
                )
                for step, found in gone.items()
            }
            run.changed = {name: count for name, count in counts.items() if count}
            return
        await self._runs.advance(run, "applying", gone)

    async def apply(self, in_time: Callable[[], bool]) -> bool:
        """Write what was read while ``in_time()``, in an order in which no row refers to one that is not
        there yet; returns whether all is written."""
        self._left = await self._count_left()
        for kind in ("department", "roles"):
            last = ""
            while ids := await self._next(kind, last):
                last = ids[-1]
                await self._chunk(kind, ids)
                if not in_time():
                    return False
        last = ""
        while ids := await self._next("user", last):
            last = ids[-1]
            await self._chunk("user", ids)
            if not in_time():
                return False
        if not self._dry:
            await self._runs.advance(self._run, "refetching")
        return True

    async def _chunk(self, kind: str, ids: list[str]) -> None:
        while True:
            changed = dict(self._run.changed)
            try:
                async with self._writing() as tx:
                    await self._write(tx, kind, ids)
                    await self._runs.save(tx, self._run)
                break
            except Conflict:  # PostgreSQL rolled back because of another transaction
                self._run.changed = changed
        self._applied += len(ids)
        self._progress(self._applied, max(self._applied, self._left))

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Transaction]:
        try:
            async with self._runs.database.transaction() as tx:
                yield tx
                if self._dry:
                    raise _DryRun
        except _DryRun:
            return

    async def _write(self, tx: Transaction, kind: str, ids: list[str]) -> None:
        run = self._run
        of_ids = (staged.c.run_id == run.run_id, staged.c.entity_id.in_(ids))
        of_chunk = (*of_ids, staged.c.kind == kind)
        rows = (await tx.execute(select(staged).where(*of_chunk).order_by(staged.c.listed_in))).all()
        # of a user in several departments, the oldest fetch counts: an event's may have come in between
        generations: dict[str, int] = {}
        documents: dict[str, dict[int, Any]] = defaultdict(dict)
        for row in rows:
            generations[row.entity_id] = min(generations.get(row.entity_id, row.generation), row.generation)
            documents[row.entity_id][row.listed_in] = json.loads(row.document)
        if self._dry:  # nothing is written, so nothing newer can be lost
            claimed = set(generations)
        else:
            claimed = await guard.claim_many(tx, run.corp_id, kind, generations)
        step = "fetch" if kind == "user" else f"fetch_{kind}"
        await self._runs.add_todo(tx, run, [(step, an_id) for an_id in generations.keys() - claimed])
        now = datetime.now(UTC)
        of_claimed = {an_id: documents[an_id] for an_id in sorted(claimed)}
        if kind == "user":
            await self._people(tx, of_claimed, now)
        elif kind == "department":
            listed = {int(an_id): department_row(found[0]) for an_id, found in of_claimed.items()}
            for change in (await store.write_departments(tx, run.corp_id, listed, at=now)).values():
                count_change(run, f"departments_{change}", 1)
        elif ROLES in of_claimed:
            wanted = roles_state(of_claimed[ROLES][0])
            count_change(run, "roles_changed", await store.write_roles(tx, run.corp_id, wanted, at=now))
        await tx.execute(delete(staged).where(*of_chunk))
        if kind == "user":
            await tx.execute(delete(staged).where(*of_ids, staged.c.kind == "holder"))

    async def _people(self, tx: Transaction, found: dict[str, dict[int, Any]], now: datetime) -> None:
        corp_id, roles = self._run.corp_id, await self._roles_of(tx, found)
        listed: dict[str, UserState] = {}
        by_name: dict[str, UserState] = {}
        for userid, documents in found.items():
            role_ids = None if roles is None else frozenset(roles[userid])
            if (whole := documents.get(0)) is None:
                listed[userid] = listed_state(documents, role_ids)
                continue
            # the person's own answer has the roles too, and counts
            by_name[userid] = user_state(whole)
            await store.name_roles(tx, corp_id, by_name[userid].role_names, at=now)
        changes = await store.write_users(tx, corp_id, listed, at=now, listed=True)
        changes |= await store.write_users(tx, corp_id, by_name, at=now)
        for change in changes.values():
            count_change(self._run, f"people_{change}", 1)

    async def _roles_of(self, tx: Transaction, userids: Collection[str]) -> dict[str, set[int]] | None:
        """The ids of their roles; None when the app may not list roles."""
        of_run = staged.c.run_id == self._run.run_id
        if (
            await tx.scalar(select(staged.c.entity_id).where(of_run, staged.c.kind == "role").limit(1))
            is None
        ):
            return None
        listed = select(staged.c.entity_id, staged.c.listed_in).where(
            of_run, staged.c.kind == "holder", staged.c.entity_id.in_(userids)
        )
        unread = select(staged.c.entity_id).where(of_run, staged.c.kind == UNREAD["role"])
        as_known = select(user_roles.c.userid, user_roles.c.role_id).where(
            user_roles.c.corp_id == self._run.corp_id,
            user_roles.c.userid.in_(userids),
            cast(user_roles.c.role_id, Text).in_(unread),
        )
        found: dict[str, set[int]] = defaultdict(set)
        for row in await tx.execute(union(listed, as_known)):
            found[row.entity_id].add(row.listed_in)
        return found

    async def _next(self, kind: str, after: str) -> list[str]:
        rows = await self._runs.reader.execute(
            select(staged.c.entity_id)
            .where(staged.c.run_id == self._run.run_id, staged.c.kind == kind, staged.c.entity_id > after)
            .distinct()
            .order_by(staged.c.entity_id)
            .limit(CHUNK)
        )
        return [row.entity_id for row in rows]

    async def _count_left(self) -> int:
        return int(
            await self._runs.reader.scalar(
                select(func.count(func.distinct(staged.c.entity_id))).where(
                    staged.c.run_id == self._run.run_id, staged.c.kind.in_(("user", "department"))
                )
            )
        )
