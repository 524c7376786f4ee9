"""One full sync from where it stands to its end: read, judge, apply, ask again.

Used by the consumer itself (``schedule.py``) and by ``dingbridge resync``. What each step does stands in
``reading.py``, ``verdict.py`` and ``applying.py``; this is their order, and the words about cost and result.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import func, select

from consumers.address_sync.applying import Applying
from consumers.address_sync.looks import Looks
from consumers.address_sync.reading import Meter, Progress, Reading
from consumers.address_sync.runs import Part, Run, Runs
from consumers.address_sync.settings import AddressSyncSettings
from consumers.address_sync.tables import departments, guard, roles
from consumers.address_sync.verdict import confirmable, current_users, judge
from dingbridge import DatabaseDown, Reader
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.contacts import PAGE_SIZE

log = structlog.get_logger(__name__)

_KINDS = {"people": ("person", "people"), "departments": ("department", "departments")}
_CHANGES = {"new": "new", "back": "back", "changed": "changed", "gone": "gone"}


async def resync(
    runs: Runs,
    run: Run,
    client: DingTalkClient,
    settings: AddressSyncSettings,
    progress: Progress = lambda done, known: None,
    *,
    confirmed: int | None = None,
) -> Run:
    """Take ``run``, which this process holds, to its end: ``done``, ``stopped`` or ``dry_run``.

    A run whose cause is ``dry_run`` reads and compares, and changes nothing. ``confirmed``: so many people
    are known to have left.

    Raises ``ApiError`` (``BudgetSpent`` among them) or ``DatabaseDown`` with everything kept and the run let
    go: call it again. Raises ``RunTaken`` when another process has gone on with it.
    """
    client = client.at(run.priority)
    dry_run = run.cause == "dry_run"
    meter = Meter(run, settings.resync_calls_per_s)
    applying = Applying(runs, run, progress, dry=dry_run)
    log.info("address_sync.resync", run=run.run_id, cause=run.cause, part=run.part, state=run.state)
    try:
        async with runs.holding(run):
            if run.state == "reading":
                await Reading(runs, run, client, settings, meter, progress).read()
                verdict = await judge(runs, run, settings, confirmed)
                run.leavers, run.incomplete = verdict.missing, verdict.incomplete
                if verdict.stopped is not None and not dry_run:
                    await runs.end(run, "stopped", verdict.stopped)
                    log.error("address_sync.stopped", run=run.run_id, reason=verdict.stopped)
                    return run
                run.words = verdict.stopped
                await applying.begin(mark=verdict.incomplete is None)
            if run.state == "applying" or dry_run:
                await applying.apply()
            if dry_run:
                await runs.end(run, "dry_run", run.words)
                return run
            await applying.look(Looks(client), meter)
            await runs.end(run, "done")
    except BaseException:
        with suppress(DatabaseDown):  # then the hold ends by itself
            await (runs.end(run, "superseded") if dry_run else runs.let_go(run))
        raise
    if run.incomplete and run.leavers:
        log.warning("address_sync.incomplete", run=run.run_id, not_seen=run.leavers, reason=run.incomplete)
    log.info("address_sync.resynced", run=run.run_id, calls=run.calls, **run.changed)
    return run


async def cost(reader: Reader, corp_id: str, part: Part, *, employees: int | None, details: bool) -> str:
    """What a run will cost in API calls, in words. ``employees``: how many there are, for tables that hold
    nobody yet."""
    count = await reader.scalar(
        select(func.count())
        .select_from(departments)
        .where(departments.c.corp_id == corp_id, departments.c.deleted_at.is_(None))
    )
    if part == "departments":
        return f"about {1 + 2 * max(count, 1):,} API calls for {count:,} departments"
    people = await current_users(reader, corp_id)
    labels = await reader.scalar(
        select(func.count())
        .select_from(roles)
        .where(roles.c.corp_id == corp_id, roles.c.deleted_at.is_(None))
    )
    everybody = max(people, employees or 0)
    each = everybody if details else everybody - people
    least = 4 + 3 * max(count, 1) + math.ceil(everybody / PAGE_SIZE) + labels + each
    known = f"{everybody:,} people, {count:,} known departments (3 each), {labels:,} known roles (1 each)"
    more = "" if not each else f", {each:,} of the people one by one"
    return f"about {least:,} API calls: {known}{more}; and 1 for each person who turns out to differ"


def result(run: Run) -> list[str]:
    """What a run that has ended did, in lines for a person."""
    lines = []
    for kind, (one, many) in _KINDS.items():
        counts = {change: run.changed.get(f"{kind}_{change}", 0) for change in _CHANGES}
        told = ", ".join(f"{count:,} {_CHANGES[change]}" for change, count in counts.items() if count)
        lines.append(f"{many}: {told or f'no {one} differs'}")
    if changed := run.changed.get("roles_changed", 0):
        lines.append(f"roles: {changed:,} changed")
    lines.append(f"API calls of this run: {run.calls:,}")
    if run.incomplete and run.leavers:
        if confirmable(run):
            advice = f"If they did leave: dingbridge resync --confirm-leavers {run.leavers}"
        else:
            advice = (
                "To confirm leavers does not help: who left cannot be told from who is hidden. Widen the "
                "app's contact scope (通讯录权限范围) on open-dev.dingtalk.com, and resync again"
            )
        lines.append(
            f"{run.leavers:,} people are in the tables and were not seen; nobody was marked as left, because "
            f"{run.incomplete}. {advice}"
        )
    if run.words:
        lines.append(run.words)
    return lines


def budget(spent: Mapping[str, Any], priority: str) -> str:
    """The month's calls in words, from ``ApiCalls.spent()``, and what is left for ``priority``."""
    calls, limit = spent["calls"], spent["limit"]
    if spent["left"] is None:
        return f"API calls in {spent['month']}: {calls:,}, with no limit of ours (API_MONTHLY_BUDGET=0)"
    left = spent["left"][priority]
    until = datetime.fromisoformat(spent["until"]).astimezone(ZoneInfo("Asia/Shanghai"))
    when = f"until {until:%Y-%m-%d %H:%M} Shanghai time"
    if not left:
        return f"API calls in {spent['month']}: {calls:,} of {limit:,}, none left for {priority} {when}"
    return f"API calls in {spent['month']}: {calls:,} of {limit:,}; {left:,} are left for {priority} {when}"


async def company(reader: Reader, settings: AddressSyncSettings) -> list[str]:
    """The corpId as the settings say, else those that the tables hold, from events."""
    if settings.dingtalk_corp_id is not None:
        return [settings.dingtalk_corp_id]
    rows = await reader.execute(select(guard.table.c.corp_id).distinct())
    return sorted(row.corp_id for row in rows if row.corp_id != "-")
