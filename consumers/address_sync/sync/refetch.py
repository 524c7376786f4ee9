"""The last step of a full sync: fetches by id every entity that was not read, or that an event had fetched
meanwhile. Only DingTalk's own "no such user" marks somebody as left.

An entity that was fetched for an event a moment ago waits, since answers may still be older than the event
(``dingbridge/snapshots/late_answers.py``). One that was fetched for an event long enough after the run began
is not fetched at all: so a run ends in a busy company, too.
"""

from collections.abc import Callable

from dingbridge import Conflict
from dingbridge.consumers.address_sync.fetcher import Fetched, FetchedRoles, FetchedUser, Fetcher, write
from dingbridge.consumers.address_sync.store import Change
from dingbridge.consumers.address_sync.sync.details import ask_for_reports
from dingbridge.consumers.address_sync.sync.runs import Entry, Run, Runs, count_change
from dingbridge.consumers.address_sync.sync.sync_read import SETTLED_AFTER
from dingbridge.consumers.address_sync.sync.worklist import CallMeter, Worklist
from dingbridge.consumers.address_sync.tables import guard
from dingbridge.mirror.leavers import LeaverLimit
from dingbridge.snapshots import FetchAttempt

_KINDS = {
    "fetch_roles": "roles",
    "fetch_department": "department",
    "gone_department": "department",
    "fetch": "user",
    "gone": "user",
}
"""The steps in their order. ``fetch``: an event fetched it meanwhile; ``gone``: not read, perhaps gone."""


class Refetcher:
    """Works off the list of one run."""

    def __init__(
        self,
        runs: Runs,
        run: Run,
        fetcher: Fetcher,
        meter: CallMeter,
        worklist: Worklist,
        limit: LeaverLimit,
    ) -> None:
        self._runs, self._run, self._fetcher, self._meter = runs, run, fetcher, meter
        self._worklist, self._limit = worklist, limit

    async def refetch(self, in_time: Callable[[], bool]) -> bool:
        """Fetch what is on the list while ``in_time()``; returns whether it is empty. Raises ``ApiError``."""
        return await self._worklist.work(dict.fromkeys(_KINDS, self._one), in_time)

    async def _one(self, entry: Entry) -> float | None:
        run = self._run
        while True:
            attempt = await guard.begin(self._runs.reader, run.corp_id, _KINDS[entry[0]], entry[1])
            if attempt.last_fetch_at is not None:
                if attempt.last_fetch_at >= run.began_at + SETTLED_AFTER:  # that fetch was late enough
                    async with self._runs.database.transaction() as tx:
                        await self._runs.done_todo(tx, run, entry)
                    return None
                settled_at = (attempt.last_fetch_at + SETTLED_AFTER).timestamp()
                if settled_at > self._worklist.now():
                    return settled_at
            found = await self._fetch(attempt)
            changed = dict(run.changed)
            try:
                async with self._runs.database.transaction() as tx:
                    gone = isinstance(found, FetchedUser) and not found.exists
                    change: Change | None = None
                    if not gone or await self._limit.take(tx, run.corp_id, [entry[1]]):
                        change = await write(tx, run.corp_id, found)
                    self._note(found, change)
                    if change == "gone" and isinstance(found, FetchedUser):
                        await ask_for_reports(tx, run.corp_id, entry[1])
                    await self._runs.done_todo(tx, run, entry)
                    await self._runs.save(tx, run)
                return None
            except Conflict:
                run.changed = changed

    async def _fetch(self, attempt: FetchAttempt) -> Fetched:
        await self._meter.call()
        reader, corp_id = self._runs.reader, self._run.corp_id
        if attempt.kind == "roles":
            return await self._fetcher.roles(reader, corp_id, attempt)
        if attempt.kind == "department":
            return await self._fetcher.department(reader, corp_id, int(attempt.entity_id), attempt)
        found = await self._fetcher.user(reader, corp_id, attempt.entity_id, attempt)
        await self._meter.call(len(found.departments) + (found.roles is not None))
        return found

    def _note(self, found: Fetched, change: Change | None) -> None:
        if change is None:
            return
        if isinstance(found, FetchedRoles):
            count_change(self._run, "roles_changed", 1)
        else:
            kind = "people" if isinstance(found, FetchedUser) else "departments"
            count_change(self._run, f"{kind}_{change}", 1)
