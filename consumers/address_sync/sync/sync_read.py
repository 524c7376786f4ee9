"""The first half of a full sync: reads the company, and keeps what it read beside the tables.

Departments from the root (or from whatever the app may see) down, then each department and its members, the
roles and who has them. Every step is one entry in the list of what is to do, done in one transaction: a crash
costs the step that was under way. The tables themselves are not touched (``sync_apply.py``).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, cast

import structlog
from sqlalchemy import and_, select

from consumers.address_sync.fetcher import ROLES, is_hidden
from consumers.address_sync.settings import AddressSyncSettings
from consumers.address_sync.sync.runs import READ, Entry, Run, Runs
from consumers.address_sync.sync.safety import (
    HIDDEN,
    OUT_OF_SIGHT,
    current_users,
    missing_users,
    read_users,
    sees_a_part,
)
from consumers.address_sync.tables import guard, memberships
from dingbridge import Transaction
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.contacts import PAGE_SIZE
from dingbridge.dingtalk.errors import BadRequest, NotFound, PermissionDenied, QuotaSpent
from dingbridge.snapshots.coerce import as_json
from dingbridge.throttle import Throttle

log = structlog.get_logger(__name__)

ROOT: Final = 1

RECOUNT: Final[Entry] = ("count", "again")

AT_ONCE: Final = 2_000
"""People of one listing that are kept in memory; of a longer one, what came before is staged meanwhile."""

MOVED: Final = -1
"""The generation of somebody whom we know from elsewhere: which it was before the listing is not known, so he
is asked for by name."""

Progress = Callable[[int, int], None]
"""Called with the steps that are done and those that are known."""


class CallMeter:
    """Counts the calls of ``run``, and spaces them out."""

    def __init__(self, run: Run, throttle: Throttle) -> None:
        self._run, self._throttle = run, throttle

    async def call(self, count: int = 1) -> None:
        """Await this before a call (or after ``count`` calls that could not be foreseen)."""
        self._run.calls += count
        await self._throttle.turn(count)


class CompanyReader:
    """Reads for one run. ``read`` may be called again after whatever it raised, and goes on."""

    def __init__(
        self,
        runs: Runs,
        run: Run,
        client: DingTalkClient,
        settings: AddressSyncSettings,
        meter: CallMeter,
        progress: Progress,
    ) -> None:
        self._runs, self._run, self._client, self._meter = runs, run, client, meter
        self._settings, self._progress = settings, progress
        self._missing_roles: set[str] = set()
        self._known = 0
        # in this order: once the tree is known, so is nearly all that is left
        self._steps: dict[str, Callable[[Entry], Awaitable[None]]] = {
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
        self._known = await self._runs.left(self._run)
        done = 0
        while (entry := await self._runs.next_todo(self._run, self._steps)) is not None:
            await self._steps[entry[0]](entry)
            done += 1
            self._progress(done, max(done, self._known))
            if not in_time():
                return False
        return True

    async def _scope(self, entry: Entry) -> None:
        """Where to begin. The month's quota counts this one call: without it, at what was seen last."""
        run = self._run
        scope: dict[str, list[Any]] | None = None
        try:
            await self._meter.call()
            scope = seen = cast(dict[str, list[Any]], await self._client.visible_scope())
        except (PermissionDenied, QuotaSpent) as error:
            log.warning("address_sync.scope_not_told", errcode=error.errcode)
            before = [one.scope for one in await self._runs.ended(*READ) if one.scope is not None]
            seen = before[-1] if before else {"authed_dept": [ROOT], "authed_user": []}
        roots = [ROOT] if ROOT in seen["authed_dept"] else seen["authed_dept"]
        await self._meter.call()
        run.employees = await self._client.user_count(only_active=False)
        entries = [("tree", str(dept_id)) for dept_id in roots]
        entries += [("roles", ROLES), ("count", "*")]
        entries += [("person", userid) for userid in seen["authed_user"]]
        run.scope = scope
        await self._done(entry, entries)

    async def _tree(self, entry: Entry) -> None:
        dept_id = int(entry[1])
        try:
            await self._meter.call()
            below = await self._client.sub_departments(dept_id)
        except NotFound:  # deleted since its parent was read
            await self._done(entry)
            return
        except PermissionDenied as error:
            self._out_of_sight(error, f"department {dept_id}")
            await self._done(entry)
            return
        entries = [("tree", str(child["dept_id"])) for child in below if "dept_id" in child]
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
        except PermissionDenied as error:
            self._out_of_sight(error, f"department {entry[1]}")
        await self._done(entry, keep=("department", generations, documents))

    async def _members(self, entry: Entry) -> None:
        """All pages of one department: until all are read, this is to be done again, and forgets the half."""
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
        except (NotFound, PermissionDenied) as error:
            if isinstance(error, PermissionDenied):
                self._out_of_sight(error, f"department {entry[1]}")
            members = {}
            if entry[0] == "members_again":
                await self._begin_long(entry, "user")
        await self._done(
            entry, keep=("user", await self._listed(before, members), members), listed_in=dept_id
        )

    async def _members_before(self, dept_id: int) -> dict[str, int]:
        """The generations, before the listing, of those who are members by our tables."""
        columns, corp_id = guard.table.c, self._run.corp_id
        of_kind = (columns.corp_id == corp_id, columns.kind == "user")
        rows = await self._runs.reader.execute(
            select(columns.entity_id, columns.generation)
            .join(memberships, and_(*of_kind, memberships.c.userid == columns.entity_id))
            .where(memberships.c.corp_id == corp_id, memberships.c.dept_id == dept_id)
        )
        return {row.entity_id: row.generation for row in rows}

    async def _listed(self, before: Mapping[str, int], members: Collection[str]) -> dict[str, int]:
        """The generations of ``members`` before they were listed. Who was not known then and still is not had
        none: generations only grow."""
        others = [userid for userid in members if userid not in before]
        known = await self._generations("user", others) if others else {}
        return {userid: MOVED if userid in known else before.get(userid, 0) for userid in members}

    async def _person(self, entry: Entry) -> None:
        """Somebody whom the app may see though none of his departments, or who was not listed. Of an app that
        sees a part, who is out of sight may have moved out of it: that says nothing of others."""
        kind, documents = "user", dict[str, Any]()
        generations = await self._generations("user", [entry[1]])
        try:
            await self._meter.call()
            documents[entry[1]] = await self._client.user(entry[1])
        except NotFound:
            pass
        except PermissionDenied as error:
            if sees_a_part(self._run) and is_hidden(error):
                kind, documents = HIDDEN, {entry[1]: None}
            else:
                self._out_of_sight(error, "a user")
        await self._done(entry, keep=(kind, generations, documents))

    async def _generations(self, kind: str, ids: list[str]) -> dict[str, int]:
        return await guard.generations(self._runs.reader, self._run.corp_id, kind, ids)

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
            await self._keep(tx, "role", {}, {entry[1]: None}, 0)  # that roles were told, if nobody has one
        await self._done(entry, keep=("holder", {}, holders), listed_in=role_id)

    async def _count(self, entry: Entry) -> None:
        """The end: of two counts the smaller one, since people come and go while we read. When more are
        counted than were listed, somebody may have moved to where we had been: few are asked for by name. Of
        an app that sees a part, everybody who was not listed is: who moved out of it has not left."""
        run, reader = self._run, self._runs.reader
        if entry == RECOUNT:
            run.found = await read_users(reader, run)
            if hidden := await read_users(reader, run, HIDDEN):
                log.info("address_sync.hidden", run=run.run_id, people=hidden)
            await self._done(entry)
            return
        await self._meter.call()
        again = await self._client.user_count(only_active=False)
        run.employees = again if run.employees is None else min(run.employees, again)
        run.found = await read_users(reader, run)
        missing: list[Entry] = []
        if sees_a_part(run):
            missing = [("person", row.userid) for row in await reader.execute(missing_users(run))]
            missing = [*missing, RECOUNT] if missing else []
        elif run.found < run.employees:
            allowed = self._settings.leavers_allowed(await current_users(reader, run.corp_id))
            rows = await reader.execute(missing_users(run).limit(allowed + 1))
            missing = [("person", row.userid) for row in rows]
            missing = [*missing, RECOUNT] if 0 < len(missing) <= allowed else []
        await self._done(entry, missing)

    def _out_of_sight(self, error: PermissionDenied, what: str) -> None:
        """Raises ``error`` if it says that the app lost a permission, which is no answer about ``what``."""
        if not is_hidden(error):
            raise error
        self._run.incomplete = f"{what} {OUT_OF_SIGHT} (errcode {error.errcode})"

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
        keep: tuple[str, Mapping[str, int], dict[str, Any]] | None = None,
        listed_in: int = 0,
    ) -> None:
        self._known += len(entries or [])
        async with self._runs.database.transaction() as tx:
            await self._runs.save(tx, self._run)
            await self._runs.done_todo(tx, self._run, entry)
            await self._runs.add_todo(tx, self._run, entries or [])
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
