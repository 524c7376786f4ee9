"""One full sync from where it stands to its end: read, check removals, apply, refetch. Its result in words.

At its end the rows stand; what no listing tells of people follows in the background (``details.py``).

Run by the consumer for an order from its inbox (``consumer.py``), a slice at a time, and by ``dingbridge
resync``, in one go.
"""

import structlog

from consumers.address_sync.fetcher import Fetcher
from consumers.address_sync.settings import AddressSyncSettings
from consumers.address_sync.sync.details import for_s as in_time_for
from consumers.address_sync.sync.refetch import Refetcher
from consumers.address_sync.sync.runs import Run, Runs
from consumers.address_sync.sync.safety import check_removals, confirmable
from consumers.address_sync.sync.sync_apply import Applier
from consumers.address_sync.sync.sync_read import CallMeter, CompanyReader, Progress
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.throttle import Throttle

log = structlog.get_logger(__name__)

_KINDS = {"people": ("person", "people"), "departments": ("department", "departments")}
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
    ) -> None:
        self._runs, self._run, self._settings, self._confirmed = runs, run, settings, confirmed
        self._dry_run = run.cause == "dry_run"
        meter = CallMeter(run, pace)
        self._reader = CompanyReader(runs, run, client, settings, meter, progress)
        self._applier = Applier(runs, run, progress, dry=self._dry_run)
        self._refetcher = Refetcher(runs, run, Fetcher(client), meter, progress)

    async def work(self, for_s: float | None = None) -> bool:
        """Go on with the run, for about ``for_s`` (None: to its end); returns whether it has ended.

        Raises ``ApiError`` or ``DatabaseDown`` with everything kept: call it again. Raises ``RunMoved`` when
        another process went on with the run.
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
                await self._runs.advance(run, "dry_run")
        if run.state == "refetching":
            if not await self._refetcher.refetch(in_time):
                return False
            await self._end()
        return True

    async def _check(self) -> None:
        run = self._run
        check = await check_removals(self._runs, run, self._settings, self._confirmed)
        run.leavers, run.incomplete, run.words = check.missing, check.incomplete, check.stopped
        if check.stopped is None or self._dry_run:
            await self._applier.begin(mark=check.incomplete is None)
            return
        await self._runs.advance(run, "stopped")
        log.error("address_sync.stopped", run=run.run_id, reason=check.stopped)

    async def _end(self) -> None:
        run = self._run
        await self._runs.advance(run, "details" if run.cause == "command" else "done")
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
        told = ", ".join(f"{count:,} {change}" for change, count in counts.items() if count)
        lines.append(f"{many}: {told or f'no {one} differs'}")
    if changed := run.changed.get("roles_changed", 0):
        lines.append(f"roles: {changed:,} changed")
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
    elif run.incomplete:
        lines.append(
            f"Not all could be read: {run.incomplete}. Look at the app's contact scope (通讯录权限范围) and "
            "permissions on open-dev.dingtalk.com, and resync again"
        )
    if run.words:
        lines.append(run.words)
    return lines
