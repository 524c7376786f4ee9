"""One full sync from where it is to its end: read, check removals, apply, refetch. Its result in words.

At its end the rows are written; people's details follow in the background (``details.py``).

Run by the consumer for an order from its inbox (``consumer.py``), a slice at a time, and by ``dingbridge
resync``, in one go.
"""

from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import func, select

from dingbridge.consumers.address_sync.fetcher import Fetcher
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.details import for_s as in_time_for
from dingbridge.consumers.address_sync.sync.refetch import Refetcher
from dingbridge.consumers.address_sync.sync.runs import Run, Runs, State
from dingbridge.consumers.address_sync.sync.safety import check_removals, leaver_limit
from dingbridge.consumers.address_sync.sync.sync_apply import Applier
from dingbridge.consumers.address_sync.sync.sync_read import CompanyReader
from dingbridge.consumers.address_sync.sync.worklist import CallMeter, Progress, Worklist, unread
from dingbridge.consumers.address_sync.tables import departments, roles, users
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.mirror.leavers import LeaverLimit
from dingbridge.throttle import Throttle

log = structlog.get_logger(__name__)

_KINDS = {"people": ("person", "people"), "departments": ("department", "departments")}
_OUTSIDE = ("50002", "50004")
_CHANGES = ("new", "back", "changed", "gone")


class FullSync:
    """Takes ``run`` to its end: ``done`` (``details`` for a command), ``stopped`` or ``dry_run``.

    A run whose cause is ``dry_run`` reads and compares, and changes nothing. ``confirmed``: so many people
    are known to have left. ``pace``: of all its calls; the details fetched meanwhile keep to the same.
    """

    def __init__(
        self,
        runs: Runs,
        run: Run,
        client: DingTalkClient,
        settings: AddressSyncSettings,
        pace: Throttle,
        progress: Progress = lambda done, known: None,
        *,
        confirmed: int | None = None,
        limit: LeaverLimit | None = None,
        **clock: Any,
    ) -> None:
        """``clock``: what ``Worklist`` takes."""
        self._runs, self._run, self._settings, self._confirmed = runs, run, settings, confirmed
        self._limit = limit or leaver_limit(settings)
        self._dry_run = run.cause == "dry_run"
        meter = CallMeter(run, pace)
        worklist = Worklist(runs, run, client, meter, progress, **clock)
        self._reader = CompanyReader(runs, run, client, settings, meter, worklist)
        self._applier = Applier(runs, run, progress, dry=self._dry_run)
        self._refetcher = Refetcher(runs, run, Fetcher(client), meter, worklist, self._limit)

    async def work(self, for_s: float | None = None) -> bool:
        """Go on with the run, for about ``for_s`` (None: to its end); returns whether it has ended.

        Raises ``ApiError`` or ``DatabaseDown`` with everything kept: call it again. A single entity that
        cannot be read does not stop it (``worklist.py``). Raises ``RunMoved`` when another process went on
        with the run.
        """
        run = self._run
        in_time = in_time_for(for_s)
        if run.state == "reading":
            if not await self._reader.read(in_time):
                return False
            await self._check()
        if run.state == "applying" or (self._dry_run and run.is_open):
            if not await self._applier.apply(in_time):
                return False
            if self._dry_run:
                await self._over("dry_run")
            else:
                await self._log_read()
        if run.state == "refetching":
            if not await self._refetcher.refetch(in_time):
                return False
            await self._end()
        return True

    async def _check(self) -> None:
        run = self._run
        check = await check_removals(self._runs, run, self._settings, self._limit, self._confirmed)
        run.leavers, run.incomplete, run.words = check.missing, check.incomplete, check.stopped
        if self._confirmed is not None and check.stopped is None:
            waiting = await self._limit.confirm(self._runs.database, run.corp_id, self._confirmed)
            if waiting > self._confirmed:
                run.words = (
                    f"{waiting:,} people whom DingTalk does not know wait, and {self._confirmed:,} were "
                    "confirmed: none of them was marked as left. If all of them did leave: dingbridge resync "
                    f"--confirm-leavers {waiting}"
                )
        if check.stopped is None or self._dry_run:
            await self._applier.begin(mark=check.incomplete is None)
            return
        await self._over("stopped")
        log.error("address_sync.stopped", run=run.run_id, reason=check.stopped)

    async def _log_read(self) -> None:
        """Log that the tables have the company as it was read. The last step may wait for a minute."""
        run, reader = self._run, self._runs.reader
        here = {
            "people": users.c.left_at,
            "departments": departments.c.deleted_at,
            "roles": roles.c.deleted_at,
        }
        counts = {
            kind: await reader.scalar(
                select(func.count())
                .select_from(gone_at.table)
                .where(gone_at.table.c.corp_id == run.corp_id, gone_at.is_(None))
            )
            for kind, gone_at in here.items()
        }
        seconds = round((datetime.now(UTC) - run.began_at).total_seconds(), 1)
        log.info("address_sync.company_read", run=run.run_id, **counts, seconds=seconds)

    async def _over(self, state: State) -> None:
        run = self._run
        run.unread = await unread(self._runs.reader, run)
        await self._runs.advance(run, state)
        for kind, found in run.unread.items():
            log.warning("address_sync.not_read", run=run.run_id, kind=kind, **found)

    async def _end(self) -> None:
        run = self._run
        await self._over("details" if run.cause == "command" else "done")
        if run.incomplete:
            log.warning(
                "address_sync.incomplete", run=run.run_id, not_seen=run.leavers, reason=run.incomplete
            )
        log.info("address_sync.resynced", run=run.run_id, calls=run.calls, **run.changed)


def result(run: Run) -> list[str]:
    """What a run that has ended did, in lines for a person."""
    lines = []
    for kind, (one, many) in _KINDS.items():
        counts = {change: run.changed.get(f"{kind}_{change}", 0) for change in _CHANGES}
        counted = ", ".join(f"{count:,} {change}" for change, count in counts.items() if count)
        lines.append(f"{many}: {counted or f'no {one} differs'}")
    if changed := run.changed.get("roles_changed", 0):
        lines.append(f"roles: {changed:,} changed")
    for kind, found in run.unread.items():
        ids = ", ".join(f"{an_id} ({code})" for an_id, code in found["ids"].items())
        more = "" if found["count"] == len(found["ids"]) else " …"
        lines.append(f"{kind} that could not be read, and stay as they were: {found['count']:,}: {ids}{more}")
    if any(code in _OUTSIDE for found in run.unread.values() for code in found["ids"].values()):
        lines.append(
            "50002 and 50004 mean that they are outside of the app's contact scope (通讯录权限范围): widen "
            "it on open-dev.dingtalk.com, and resync again"
        )
    if run.incomplete and run.leavers:
        lines.append(
            f"{run.leavers:,} people are in the tables and were not seen; nobody was marked as left, because "
            f"{run.incomplete}. If they did leave: dingbridge resync --confirm-leavers {run.leavers}"
        )
    elif run.incomplete:
        lines.append(
            f"Nobody was marked as left: {run.incomplete}. Look at the app's contact scope (通讯录权限范围) "
            "and permissions on open-dev.dingtalk.com, and resync again"
        )
    if run.words:
        lines.append(run.words)
    return lines
