"""When a full sync runs by itself: at the first start, when an event asks for one, and every so many days.

Of several processes of the consumer one does it (``runs.py``); the others look now and then whether it is
still being done. One that was interrupted is gone on with before any other begins.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from consumers.address_sync.resync import company, cost, resync
from consumers.address_sync.runs import Run, Runs, RunTaken
from consumers.address_sync.settings import AddressSyncSettings
from dingbridge import Database
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import ApiError, BudgetSpent, QuotaSpent

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0
RETRY_AFTER = timedelta(hours=1)
"""After a refusal that does not pass by itself, as a permission that is missing."""


class Schedule:
    """The full syncs of one process. ``run`` never returns."""

    def __init__(
        self,
        database: Database,
        client: DingTalkClient,
        settings: AddressSyncSettings,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._database, self._client, self._settings = database, client, settings
        self._look_every_s = look_every_s
        self._runs: Runs | None = None
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self._said: str | None = None

    async def run(self) -> None:
        """Raises ``ApiError`` when DingTalk cannot be asked just now, or the budget is spent: call again."""
        while True:
            if (run := await self.due()) is not None:
                await self._do(run)
            await asyncio.sleep(self._look_every_s)

    async def due(self) -> Run | None:
        """The run that this process is to do now, and holds; None when there is none."""
        runs = await self._of_company()
        if runs is None or datetime.now(UTC) < self._not_before:
            return None
        if await runs.under_way() is not None:
            return await runs.go_on()
        if waiting := await runs.waiting():
            part = max(waiting, key=lambda run: run.part == "all").part
            return await runs.begin("event", part)
        before = await runs.ended("done", "stopped", part="all")
        if not before:
            return await runs.begin("first", "all")
        days = self._settings.reconcile_every_days
        last = max(run.ended_at or run.began_at for run in before)
        if days and last + timedelta(days=days) <= datetime.now(UTC):
            return await runs.begin("reconcile", "all")
        return None

    async def _of_company(self) -> Runs | None:
        if self._runs is not None:
            return self._runs
        found = await company(self._database.reader(), self._settings)
        if len(found) == 1:
            self._runs = Runs(self._database, found[0])
            return self._runs
        words = (
            "DINGTALK_CORP_ID is not set and no event has named the company yet: the full sync waits for it"
            if not found
            else "the tables hold several companies: set DINGTALK_CORP_ID to the one that this app belongs to"
        )
        self._say("address_sync.which_company", words)
        return None

    async def _do(self, run: Run) -> None:
        assert self._runs is not None  # noqa: S101 - for mypy: a run is of one
        if run.state == "reading" and not run.calls and run.cause != "first":  # an empty table tells nothing
            words = await cost(self._runs.reader, run.corp_id, run.part, employees=None, details=run.details)
            log.info("address_sync.cost", run=run.run_id, cause=run.cause, cost=words)
        try:
            await resync(self._runs, run, self._client, self._settings)
        except RunTaken as error:
            log.info("address_sync.taken", run=run.run_id, reason=str(error))
        except (BudgetSpent, QuotaSpent) as error:
            self._say("address_sync.budget_spent", str(error))
            raise
        except ApiError as error:
            if error.unavailable:
                raise
            self._not_before = datetime.now(UTC) + RETRY_AFTER
            log.error(
                "address_sync.failed",
                run=run.run_id,
                reason=str(error),
                meaning="nothing was marked; what was read is kept, and it goes on from there",
                retry_in_s=round(RETRY_AFTER.total_seconds()),
            )

    def _say(self, event: str, words: str) -> None:
        """Once for as long as the words are the same: it is looked at every few seconds."""
        if words != self._said:
            self._said = words
            log.warning(event, reason=words)
