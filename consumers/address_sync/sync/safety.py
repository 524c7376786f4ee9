"""May a run mark anybody as left? The limit of leavers, and what makes a run incomplete. Reads only.

Somebody is marked only after a fetch by id returned "no such user" (``refetch.py``): a listing that is
refused or too short proves nothing. Moreover, a run of an app that sees less than before marks nobody. And
one that was not confirmed marks at most what the day's limit (``dingbridge/mirror/leavers.py``) has left.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Text, cast, exists, func, select

from dingbridge import Reader
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.runs import READ, Run, Runs
from dingbridge.consumers.address_sync.sync.tables import runs as runs_table
from dingbridge.consumers.address_sync.sync.tables import staged
from dingbridge.consumers.address_sync.sync.worklist import UNREAD, any_unread
from dingbridge.consumers.address_sync.tables import departments, look_again, users
from dingbridge.mirror.leavers import LeaverLimit

ROOT = 1


def leaver_limit(
    settings: AddressSyncSettings, *, app: str = "default", clock: Callable[[], float] = time.time
) -> LeaverLimit:
    """The one limit of events, details and full syncs."""
    return LeaverLimit(look_again, users, settings.leavers_allowed, clock=clock, app=app)


@dataclass(frozen=True, slots=True)
class RemovalCheck:
    """``missing``: people in the tables who were not read, and are not known to be out of sight.
    ``incomplete``: why nobody may be marked (None: who has left may be). ``stopped``: why nothing at all may
    be written."""

    missing: int
    incomplete: str | None
    stopped: str | None


async def check_removals(
    runs: Runs, run: Run, settings: AddressSyncSettings, limit: LeaverLimit, confirmed: int | None
) -> RemovalCheck:
    """What ``run``, which has read all it could, may do. ``confirmed``: so many leavers were confirmed."""
    reader = runs.reader
    missing = await reader.scalar(select(func.count()).select_from(missing_users(run).subquery()))
    if confirmed is not None and missing <= confirmed:
        return RemovalCheck(missing, None, None)
    incomplete = await _incomplete(runs, run)
    employees = await current_users(reader, run.corp_id)
    allowed = await limit.left(reader, run.corp_id)
    if incomplete is not None or missing <= max(allowed, confirmed or 0):
        return RemovalCheck(missing, incomplete, None)
    return RemovalCheck(
        missing,
        None,
        f"{missing} of {employees} people in the tables were not found at DingTalk, and MAX_LEAVERS="
        f"{settings.max_leavers} a day lets {allowed} more be marked as left: nothing was changed. If they "
        f"did leave, say so: dingbridge resync --confirm-leavers {missing}. If not, look at the app's "
        "contact scope and permissions on open-dev.dingtalk.com",
    )


async def _incomplete(runs: Runs, run: Run) -> str | None:
    """Whether the app sees less of the company than at the last run that saw all it could."""
    last = await runs.last(*READ, where=runs_table.c.incomplete.is_(None))
    if last is not None and last.scope is not None:
        if run.scope is None:
            return "DingTalk did not return what the app may see, and did before"
        whole = ROOT in run.scope["authed_dept"]
        lost = sum(
            1
            for name in ("authed_dept", "authed_user")
            for item in last.scope.get(name, [])
            if item not in run.scope.get(name, [])
        )
        if lost and not whole:
            return f"the app's contact scope has lost {lost} department(s) or user(s)"
    if sees_a_part(run) or await any_unread(runs.reader, run):
        return None  # DingTalk counts the whole company, of which the app sees a part
    if run.employees is None or run.found is None:
        return None
    unseen = run.employees - run.found
    usual = 0
    if last is not None and last.employees is not None and last.found is not None:
        usual = max(0, last.employees - last.found)
    if unseen > usual:
        return f"DingTalk counts {run.employees} employees, and listed {run.found} of them"
    return None


def sees_a_part(run: Run) -> bool:
    """Whether the app may see some departments or people only, by DingTalk's answer."""
    return run.scope is not None and ROOT not in run.scope["authed_dept"]


def missing_users(run: Run) -> Select[tuple[str]]:
    """The ids of current users whom ``run`` did not read, without those whom it could not read by name."""
    read = exists().where(
        staged.c.run_id == run.run_id,
        staged.c.kind.in_(("user", UNREAD["user"])),
        staged.c.entity_id == users.c.userid,
    )
    return select(users.c.userid).where(users.c.corp_id == run.corp_id, users.c.left_at.is_(None), ~read)


async def current_users(reader: Reader, corp_id: str) -> int:
    """How many employees the tables hold."""
    current = (users.c.corp_id == corp_id, users.c.left_at.is_(None))
    return int(await reader.scalar(select(func.count()).select_from(users).where(*current)))


async def read_users(reader: Reader, run: Run) -> int:
    """How many people ``run`` has read."""
    read = (staged.c.run_id == run.run_id, staged.c.kind == "user")
    return int(await reader.scalar(select(func.count(func.distinct(staged.c.entity_id))).where(*read)))


def missing_departments(run: Run) -> Select[Any]:
    """The ids, as text, of current departments that ``run`` did not read."""
    dept_id = cast(departments.c.dept_id, Text)
    read = exists().where(
        staged.c.run_id == run.run_id,
        staged.c.kind.in_(("department", UNREAD["department"])),
        staged.c.entity_id == dept_id,
    )
    return select(dept_id).where(
        departments.c.corp_id == run.corp_id, departments.c.deleted_at.is_(None), ~read
    )
