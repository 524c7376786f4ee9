"""The second half of a full sync: makes the tables equal to what was read, and asks again where that was not
enough.

What was read is a look like any other, with the generation that it began with: who was looked at since, for
an event, is left to be looked at once more. So is who is new or differs, since a listing does not tell all
(``mapping.listed_state``), and, by name, everybody who was not read: only DingTalk's own "no such user" marks
somebody as left.
"""

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from sqlalchemy import delete, func, select

from consumers.address_sync import store
from consumers.address_sync.looks import Looks, RolesSeen, Seen, UserSeen, hidden, write
from consumers.address_sync.mapping import UserState, department_row, listed_state, roles_state, user_state
from consumers.address_sync.reading import Meter, Progress
from consumers.address_sync.runs import Entry, Run, Runs
from consumers.address_sync.sync_tables import staged
from consumers.address_sync.tables import guard, users
from consumers.address_sync.verdict import missing_departments, missing_users
from dingbridge import Conflict, Transaction
from dingbridge.dingtalk.errors import PermissionDenied

log = structlog.get_logger(__name__)

STEPS: Final = ("look_roles", "look_department", "gone_department", "look", "gone", "detail")
"""``look``: somebody looked since; ``gone``: not read, perhaps gone; ``detail``: what no listing tells."""

CHUNK: Final = 100
"""Entities written in one transaction: it must not hold SQLite's only writer for long."""


class _DryRun(Exception):
    """No error: it rolls a transaction back."""


class Applying:
    """Applies one run. With ``dry`` every transaction is rolled back, and only the counting remains."""

    def __init__(self, runs: Runs, run: Run, progress: Progress, *, dry: bool = False) -> None:
        self._runs, self._run, self._progress, self._dry = runs, run, progress, dry
        self._applied = 0

    async def begin(self, *, mark: bool) -> None:
        """List who and what was not read, to be asked for by name, if the run may ``mark`` them."""
        run = self._run
        entries: list[Entry] = []
        if mark:
            gone = await missing_departments(self._runs, run)
            entries = [("gone_department", dept_id) for dept_id in gone]
            if run.part == "all":
                people = await self._runs.reader.execute(missing_users(run))
                entries += [("gone", row.userid) for row in people]
        if self._dry:
            run.changed = dict(
                Counter("people_gone" if e[0] == "gone" else "departments_gone" for e in entries)
            )
            return
        run.state = "applying"
        async with self._runs.database.transaction() as tx:
            await self._runs.save(tx, run)
            await self._runs.add_todo(tx, run, entries)

    async def apply(self) -> None:
        """Write everything that was read, in an order that leaves nothing to point at what is not there."""
        for kind in ("department", "roles"):
            last = ""
            while ids := await self._next(kind, last):
                last = ids[-1]
                await self._chunk(kind, ids, {})
        holders = await self._role_holders()
        last = ""
        while ids := await self._next("user", last):
            last = ids[-1]
            await self._chunk("user", ids, holders)
        if not self._dry:
            self._run.state = "looking"
            async with self._runs.database.transaction() as tx:
                await self._runs.save(tx, self._run)

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
        # of a user in several departments, the oldest look counts: somebody may have looked in between
        generations: dict[str, int] = {}
        documents: dict[str, dict[int, Any]] = defaultdict(dict)
        for row in rows:
            generations[row.entity_id] = min(generations.get(row.entity_id, row.generation), row.generation)
            documents[row.entity_id][row.dept_id] = json.loads(row.document)
        claimed = await guard.claim_many(tx, run.corp_id, kind, generations, began_at=run.began_at)
        entries: list[Entry] = [
            ("look" if kind == "user" else f"look_{kind}", an_id) for an_id in generations.keys() - claimed
        ]
        now = datetime.now(UTC)
        for an_id in sorted(claimed):
            change = await self._one(tx, kind, an_id, documents[an_id], holders, now)
            if kind == "user" and (change is not None or run.details) and 0 not in documents[an_id]:
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
            self._count("roles_changed", changed)
            return None
        if kind == "department":
            row = department_row(documents[0])
            change = await store.write_department(tx, corp_id, int(an_id), row, at=now)
            self._count(f"departments_{change}", int(change is not None))
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
        self._count(f"people_{change}", int(change is not None))
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

    # One by one

    async def look(self, looks: Looks, meter: Meter) -> None:
        """Ask for everybody and everything that is on the list, by name. Raises ``ApiError``."""
        done = 0
        while (entry := await self._runs.next_todo(self._run, STEPS)) is not None:
            await self._ask(entry, looks, meter)
            done += 1
            self._progress(done, done + sum((await self._runs.left(self._run)).values()))

    async def _ask(self, entry: Entry, looks: Looks, meter: Meter) -> None:
        run = self._run
        while True:
            await meter.call()
            seen: Seen | None
            try:
                seen = await self._see(entry, looks)
            except PermissionDenied as error:
                if not hidden(error):
                    raise
                seen = None  # out of our sight: it stays as it is known
            if isinstance(seen, UserSeen):
                await meter.call(len(seen.departments) + (seen.roles is not None))
            changed = dict(run.changed)
            try:
                async with self._runs.database.transaction() as tx:
                    if seen is not None:
                        change = await write(tx, run.corp_id, seen)
                        self._note(entry, seen, change)
                        if change == "gone" and isinstance(seen, UserSeen):
                            await self._runs.add_todo(tx, run, await self._reports(tx, entry[1]))
                    await self._runs.done_todo(tx, run, entry)
                    await self._runs.save(tx, run)
                return
            except Conflict:
                run.changed = changed

    async def _see(self, entry: Entry, looks: Looks) -> Seen:
        reader, corp_id = self._runs.reader, self._run.corp_id
        if entry[0] == "look_roles":
            return await looks.roles(reader, corp_id)
        if entry[0] in ("look_department", "gone_department"):
            return await looks.department(reader, corp_id, int(entry[1]))
        return await looks.user(reader, corp_id, entry[1])

    async def _reports(self, tx: Transaction, userid: str) -> list[Entry]:
        """Who reported to somebody that has left has another manager now, which no listing tells."""
        rows = await tx.execute(
            select(users.c.userid).where(
                users.c.corp_id == self._run.corp_id,
                users.c.manager_userid == userid,
                users.c.left_at.is_(None),
            )
        )
        return [("detail", row.userid) for row in rows]

    def _note(self, entry: Entry, seen: Seen, change: store.Change | None) -> None:
        if change is None or (entry[0] == "detail" and change == "changed"):
            return  # who is looked at for details has been counted
        if isinstance(seen, RolesSeen):
            self._count("roles_changed", 1)
        else:
            kind = "people" if isinstance(seen, UserSeen) else "departments"
            self._count(f"{kind}_{change}", 1)

    def _count(self, name: str, count: int) -> None:
        if count:
            self._run.changed[name] = self._run.changed.get(name, 0) + count
