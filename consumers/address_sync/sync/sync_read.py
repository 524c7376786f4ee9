"""The first half of a full sync: reads the company, and keeps what it read beside the tables.

Departments from the root (or from whatever the app may see) down, then each department and its members, the
roles and who has them. Every step is one entry in the list of what is to do (``worklist.py``), done in one
transaction: a crash costs the step that was under way. The tables themselves are not touched
(``sync_apply.py``).
"""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import structlog
from sqlalchemy import ColumnElement, Select, and_, case, select

from dingbridge import Transaction
from dingbridge.consumers.address_sync.fetcher import ROLES
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.runs import READ, Entry, Run, Runs
from dingbridge.consumers.address_sync.sync.safety import (
    current_users,
    missing_users,
    read_users,
    sees_a_part,
)
from dingbridge.consumers.address_sync.sync.tables import runs as runs_table
from dingbridge.consumers.address_sync.sync.worklist import CallMeter, Step, Worklist, any_unread
from dingbridge.consumers.address_sync.tables import guard, memberships
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.contacts import PAGE_SIZE
from dingbridge.dingtalk.errors import BadRequest, NotFound, PermissionDenied, QuotaSpent
from dingbridge.snapshots.coerce import as_int, as_json
from dingbridge.snapshots.late_answers import LOOK_AGAIN_S

log = structlog.get_logger(__name__)

ROOT: Final = 1

RECOUNT: Final[Entry] = ("count", "again")

AT_ONCE: Final = 2_000
"""People of one listing that are kept in memory; of a longer one, what came before is staged meanwhile."""

MOVED: Final = -1
"""Stands for the generation of somebody to be fetched by id: the one before the listing is not known, or the
person was fetched for an event a moment ago and the listing may be older."""

SETTLED_AFTER: Final = timedelta(seconds=sum(LOOK_AGAIN_S))
"""How long after an event other answers may still be older than it."""


class CompanyReader:
    """Reads for one run. ``read`` may be called again after whatever it raised, and goes on."""

    def __init__(
        self,
        runs: Runs,
        run: Run,
        client: DingTalkClient,
        settings: AddressSyncSettings,
        meter: CallMeter,
        worklist: Worklist,
    ) -> None:
        self._runs, self._run, self._client, self._meter = runs, run, client, meter
        self._settings, self._worklist = settings, worklist
        self._missing_roles: set[str] = set()
        # in this order: once the tree is known, so is nearly all that is left
        self._steps: dict[str, Step] = {
            "scope": self._scope,
            "tree": self._tree,
            "department": self._department,
            "members": self._members,
            "members_again": self._members,
            "person": self._person,
            "roles": self._roles,
            "role": self._role,
            "role_again": self._role,
            "count": self._count,
        }

    async def read(self, in_time: Callable[[], bool]) -> bool:
        """Do what is to do while ``in_time()``; returns whether all is done. Raises ``ApiError``, with what
        was read until then kept."""
        return await self._worklist.work(self._steps, in_time, last="count")

    async def _scope(self, entry: Entry) -> None:
        """Where to begin. The month's quota counts this one call: without it, at what was seen last."""
        run = self._run
        scope: dict[str, list[Any]] | None = None
        try:
            await self._meter.call()
            scope = seen = cast(dict[str, list[Any]], await self._client.visible_scope())
        except (PermissionDenied, QuotaSpent) as error:
            log.warning("address_sync.scope_not_read", errcode=error.errcode)
            before = await self._runs.last(*READ, where=runs_table.c.scope.is_not(None))
            whole: dict[str, list[Any]] = {"authed_dept": [ROOT], "authed_user": []}
            seen = (before and before.scope) or whole
        roots = [ROOT] if ROOT in seen["authed_dept"] else seen["authed_dept"]
        await self._meter.call()
        run.employees = await self._client.user_count(only_active=False)
        entries = [("tree", str(dept_id)) for dept_id in roots]
        entries += [("roles", ROLES), ("count", "*")]
        entries += [("person", userid) for userid in seen["authed_user"]]
        run.scope = scope
        await self._done(entry, entries)

    async def _tree(self, entry: Entry) -> None:
        try:
            await self._meter.call()
            below = await self._client.sub_departments(int(entry[1]))
        except NotFound:  # deleted since its parent was read
            await self._done(entry)
            return
        # of family-school contacts there is one of id -1, which no other call takes
        ids = [dept_id for child in below if (dept_id := as_int(child.get("dept_id"))) and dept_id > 0]
        entries = [("tree", str(dept_id)) for dept_id in ids]
        entries += [("department", entry[1]), ("members", entry[1])]
        await self._done(entry, entries)

    async def _department(self, entry: Entry) -> None:
        documents: dict[str, Any] = {}
        generations = await self._generations("department", [entry[1]])
        try:
            await self._meter.call()
            documents[entry[1]] = await self._client.department(int(entry[1]))
        except NotFound:
            pass
        await self._done(entry, keep=("department", generations, documents))

    async def _members(self, entry: Entry) -> None:
        """All pages of one department; a half that was read is deleted, and read again."""
        dept_id = int(entry[1])
        if entry[0] == "members_again":
            entry = await self._begin_long(entry, "user")
        before = await self._members_before(dept_id)
        members: dict[str, Any] = {}
        try:
            await self._meter.call()
            count = 0
            async for user in self._client.department_users(dept_id):
                if count and count % PAGE_SIZE == 0:
                    await self._meter.call()
                count += 1
                if isinstance(userid := user.get("userid"), str):
                    members[userid] = user
                if len(members) == AT_ONCE:
                    if entry[0] == "members":
                        entry = await self._begin_long(entry, "user")
                    await self._part("user", await self._listed(before, members), members, dept_id)
                    members = {}
        except NotFound:
            members = {}
            if entry[0] == "members_again":
                await self._begin_long(entry, "user")
        await self._done(
            entry, keep=("user", await self._listed(before, members), members), listed_in=dept_id
        )

    async def _members_before(self, dept_id: int) -> dict[str, int]:
        """The generations, before the listing, of those who are members by our tables."""
        corp_id = self._run.corp_id
        member = and_(memberships.c.corp_id == corp_id, memberships.c.dept_id == dept_id)
        of_members = guard.table.c.entity_id.in_(select(memberships.c.userid).where(member))
        return await self._generations_of("user", of_members)

    async def _listed(self, before: Mapping[str, int], members: Collection[str]) -> dict[str, int]:
        """The generations of ``members`` before they were listed. Somebody without one now had none then:
        generations only grow."""
        others = [userid for userid in members if userid not in before]
        known = await self._generations("user", others) if others else {}
        return {userid: MOVED if userid in known else before.get(userid, 0) for userid in members}

    async def _person(self, entry: Entry) -> None:
        """Somebody whose departments the app may not see, or who was not listed."""
        documents: dict[str, Any] = {}
        generations = await self._generations("user", [entry[1]])
        try:
            await self._meter.call()
            documents[entry[1]] = await self._client.user(entry[1])
        except NotFound:
            pass
        await self._done(entry, keep=("user", generations, documents))

    async def _generations(self, kind: str, ids: Collection[str]) -> dict[str, int]:
        return await self._generations_of(kind, guard.table.c.entity_id.in_(ids))

    async def _generations_of(self, kind: str, which: ColumnElement[bool]) -> dict[str, int]:
        c = guard.table.c
        moved = c.fetched_at > datetime.fromtimestamp(self._worklist.now(), UTC) - SETTLED_AFTER
        generation = case((moved, MOVED), else_=c.generation).label("generation")
        rows = await self._runs.reader.execute(
            select(c.entity_id, generation).where(c.corp_id == self._run.corp_id, c.kind == kind, which)
        )
        return {row.entity_id: row.generation for row in rows}

    async def _roles(self, entry: Entry) -> None:
        generations = await self._generations("roles", [ROLES])
        try:
            await self._meter.call()
            groups = await self._client.role_groups()
        except PermissionDenied as error:
            log.warning(
                "address_sync.roles_not_read",
                errcode=error.errcode,
                meaning="the app may not list roles; they stay as they are known",
            )
            await self._done(entry)
            return
        ids = [role["id"] for group in groups for role in group.get("roles") or [] if "id" in role]
        await self._done(
            entry, [("role", str(an_id)) for an_id in ids], keep=("roles", generations, {ROLES: groups})
        )

    async def _role(self, entry: Entry) -> None:
        role_id, count = int(entry[1]), 0
        holders: dict[str, Any] = {}
        if entry[0] == "role_again":
            entry = await self._begin_long(entry, "holder")
        try:
            await self._meter.call()
            async for user in self._client.role_users(role_id):
                if count and count % PAGE_SIZE == 0:
                    await self._meter.call()
                count += 1
                if isinstance(userid := user.get("userid"), str):
                    holders[userid] = None
                if len(holders) == AT_ONCE:
                    if entry[0] == "role":
                        entry = await self._begin_long(entry, "holder")
                    await self._part("holder", {}, holders, role_id)
                    holders = {}
        except (NotFound, BadRequest):
            # deleted since the list was read, for which no error code is documented; then the list says so
            if entry[1] in self._missing_roles:
                raise
            self._missing_roles.add(entry[1])
            await self._done(entry, [("roles", ROLES)])
            return
        async with self._runs.database.transaction() as tx:
            # so that this role counts as read, also if nobody has it
            await self._keep(tx, "role", {}, {entry[1]: None}, 0)
        await self._done(entry, keep=("holder", {}, holders), listed_in=role_id)

    async def _count(self, entry: Entry) -> None:
        """The end. DingTalk's count is asked before and after, since people come and go, and the smaller one
        counts. If it is more than were listed, somebody may have moved to a department already read: those
        few are fetched by id. An app that may not see everybody has all who were not listed fetched by id."""
        run, reader = self._run, self._runs.reader
        run.found = await read_users(reader, run)
        if entry == RECOUNT:
            await self._done(entry)
            return
        await self._meter.call()
        again = await self._client.user_count(only_active=False)
        run.employees = again if run.employees is None else min(run.employees, again)
        missing = missing_users(run)
        if not sees_a_part(run) and not await any_unread(reader, run):
            allowed = self._settings.leavers_allowed(await current_users(reader, run.corp_id))
            few = missing.limit(allowed + 1)
            many = len((await reader.execute(few)).all()) > allowed
            if many or run.found >= run.employees:
                await self._done(entry)
                return
        await self._done(entry, [RECOUNT], also=("person", missing))

    async def _begin_long(self, entry: Entry, kind: str) -> Entry:
        """A listing that is kept in parts: a next attempt has to forget those of this one. Returns the entry
        that says so."""
        again = (entry[0].removesuffix("_again") + "_again", entry[1])
        async with self._runs.database.transaction() as tx:
            await self._runs.save(tx, self._run)
            await self._runs.done_todo(tx, self._run, entry)
            await self._runs.add_todo(tx, self._run, [again])
            await self._runs.unstage(tx, self._run, kind, int(entry[1]))
        return again

    async def _part(
        self, kind: str, generations: Mapping[str, int], documents: dict[str, Any], listed_in: int
    ) -> None:
        async with self._runs.database.transaction() as tx:
            await self._runs.save(tx, self._run)
            await self._keep(tx, kind, generations, documents, listed_in)

    async def _done(
        self,
        entry: Entry,
        entries: list[Entry] | None = None,
        *,
        also: tuple[str, Select[Any]] | None = None,
        keep: tuple[str, Mapping[str, int], dict[str, Any]] | None = None,
        listed_in: int = 0,
    ) -> None:
        self._worklist.known += len(entries or [])
        async with self._runs.database.transaction() as tx:
            await self._runs.save(tx, self._run)
            await self._runs.done_todo(tx, self._run, entry)
            await self._runs.add_todo(tx, self._run, entries or [])
            if also is not None:
                await self._runs.add_selected(tx, self._run, *also)
            if keep is not None:
                await self._keep(tx, *keep, listed_in)

    async def _keep(
        self,
        tx: Transaction,
        kind: str,
        generations: Mapping[str, int],
        documents: dict[str, Any],
        listed_in: int,
    ) -> None:
        rows = {
            an_id: (generations.get(an_id, 0), as_json(document)) for an_id, document in documents.items()
        }
        await self._runs.stage(tx, self._run, kind, rows, listed_in)
