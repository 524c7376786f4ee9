"""The first half of a full sync: reads the company, and keeps what it read beside the tables.

Departments from the root (or from whatever the app may see) down, then each department and its members, the
roles and who has them. Every step is one entry in the list of what is to do, done in one transaction: a crash
costs the step that was under way. The tables themselves are not touched (``sync_apply.py``).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from consumers.address_sync.fetcher import ROLES, is_hidden
from consumers.address_sync.settings import AddressSyncSettings
from consumers.address_sync.sync.runs import Entry, Run, Runs
from consumers.address_sync.sync.safety import OUT_OF_SIGHT, current_users, missing_users, read_users
from consumers.address_sync.tables import guard
from dingbridge import Transaction
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.contacts import PAGE_SIZE
from dingbridge.dingtalk.errors import BadRequest, NotFound, PermissionDenied
from dingbridge.snapshots.coerce import as_json
from dingbridge.throttle import Throttle

log = structlog.get_logger(__name__)

ROOT: Final = 1

RECOUNT: Final[Entry] = ("count", "again")

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
        self._generations: dict[str, dict[str, int]] = {}
        self._missing_roles: set[str] = set()
        # in this order: once the tree is known, so is nearly all that is left
        self._steps: dict[str, Callable[[Entry], Awaitable[None]]] = {
            "scope": self._scope,
            "tree": self._tree,
            "department": self._department,
            "members": self._members,
            "person": self._person,
            "roles": self._roles,
            "role": self._role,
            "count": self._count,
        }

    async def read(self, in_time: Callable[[], bool]) -> bool:
        """Do what is to do while ``in_time()``; returns whether all is done. Raises ``ApiError``, with what
        was read until then kept."""
        reader, corp_id = self._runs.reader, self._run.corp_id
        # what is fetched from here on began with these generations
        for kind in ("user", "department", "roles"):
            self._generations[kind] = await guard.generations(reader, corp_id, kind)
        done = 0
        while (entry := await self._runs.next_todo(self._run, self._steps)) is not None:
            await self._steps[entry[0]](entry)
            done += 1
            self._progress(done, done + await self._runs.left(self._run))
            if not in_time():
                return False
        return True

    async def _scope(self, entry: Entry) -> None:
        run = self._run
        scope: dict[str, list[Any]] | None = None
        try:
            await self._meter.call()
            scope = await self._client.visible_scope()
        except PermissionDenied as error:
            log.warning("address_sync.scope_not_told", errcode=error.errcode)
        roots = [ROOT] if scope is None or ROOT in scope["authed_dept"] else scope["authed_dept"]
        await self._meter.call()
        run.employees = await self._client.user_count(only_active=False)
        entries = [("tree", str(dept_id)) for dept_id in roots]
        entries += [("roles", ROLES), ("count", "*")]
        entries += [("person", userid) for userid in (scope or {}).get("authed_user", [])]
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
        try:
            await self._meter.call()
            documents[entry[1]] = await self._client.department(int(entry[1]))
        except NotFound:
            pass
        except PermissionDenied as error:
            self._out_of_sight(error, f"department {entry[1]}")
        await self._done(entry, keep=("department", documents))

    async def _members(self, entry: Entry) -> None:
        """All pages of one department, or nothing: a half of them must not look like the whole."""
        members: dict[str, Any] = {}
        try:
            await self._meter.call()
            count = 0
            async for user in self._client.department_users(int(entry[1])):
                if count and count % PAGE_SIZE == 0:
                    await self._meter.call()
                count += 1
                if isinstance(userid := user.get("userid"), str):
                    members[userid] = user
        except NotFound:
            members = {}
        except PermissionDenied as error:
            self._out_of_sight(error, f"department {entry[1]}")
            members = {}
        await self._done(entry, keep=("user", members), dept_id=int(entry[1]))

    async def _person(self, entry: Entry) -> None:
        """Somebody whom the app may see though none of his departments."""
        documents: dict[str, Any] = {}
        try:
            await self._meter.call()
            documents[entry[1]] = await self._client.user(entry[1])
        except NotFound:
            pass
        except PermissionDenied as error:
            self._out_of_sight(error, "a user")
        await self._done(entry, keep=("user", documents))

    async def _roles(self, entry: Entry) -> None:
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
        await self._done(entry, [("role", str(an_id)) for an_id in ids], keep=("roles", {ROLES: groups}))

    async def _role(self, entry: Entry) -> None:
        userids: list[str] = []
        try:
            await self._meter.call()
            async for user in self._client.role_users(int(entry[1])):
                if userids and len(userids) % PAGE_SIZE == 0:
                    await self._meter.call()
                if isinstance(userid := user.get("userid"), str):
                    userids.append(userid)
        except (NotFound, BadRequest):
            # deleted since the list was read, for which no error code is documented; then the list says so
            if entry[1] in self._missing_roles:
                raise
            self._missing_roles.add(entry[1])
            await self._done(entry, [("roles", ROLES)])
            return
        await self._done(entry, keep=("role_users", {entry[1]: userids}))

    async def _count(self, entry: Entry) -> None:
        """The end: of two counts the smaller one, since people come and go while we read. When more are
        counted than were listed, somebody may have moved to where we had been: few are asked for by name."""
        run, reader = self._run, self._runs.reader
        if entry == RECOUNT:
            run.found = await read_users(reader, run)
            await self._done(entry)
            return
        await self._meter.call()
        again = await self._client.user_count(only_active=False)
        run.employees = again if run.employees is None else min(run.employees, again)
        run.found = await read_users(reader, run)
        missing: list[Entry] = []
        if run.found < run.employees:
            rows = await reader.execute(missing_users(run))
            missing = [("person", row.userid) for row in rows]
        few = len(missing) <= self._settings.leavers_allowed(await current_users(reader, run.corp_id))
        await self._done(entry, [*missing, RECOUNT] if missing and few else [])

    def _out_of_sight(self, error: PermissionDenied, what: str) -> None:
        """Raises ``error`` if it says that the app lost a permission, which is no answer about ``what``."""
        if not is_hidden(error):
            raise error
        self._run.incomplete = f"{what} {OUT_OF_SIGHT} (errcode {error.errcode})"

    async def _done(
        self,
        entry: Entry,
        entries: list[Entry] | None = None,
        *,
        keep: tuple[str, dict[str, Any]] | None = None,
        dept_id: int = 0,
    ) -> None:
        async with self._runs.database.transaction() as tx:
            await self._runs.save(tx, self._run)
            await self._runs.done_todo(tx, self._run, entry)
            await self._runs.add_todo(tx, self._run, entries or [])
            if keep is not None:
                await self._keep(tx, *keep, dept_id)

    async def _keep(self, tx: Transaction, kind: str, documents: dict[str, Any], dept_id: int) -> None:
        generations = self._generations.get(kind, {})
        rows = {
            an_id: (generations.get(an_id, 0), as_json(document)) for an_id, document in documents.items()
        }
        await self._runs.stage(tx, self._run, kind, rows, dept_id)
