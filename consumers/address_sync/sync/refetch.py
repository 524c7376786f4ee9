"""The last step of a full sync: fetches by name everybody and everything that was not read, or that an event
fetched meanwhile. Only DingTalk's own "no such user" marks somebody as left.
"""

from collections.abc import Callable

from consumers.address_sync.fetcher import Fetched, FetchedRoles, FetchedUser, Fetcher, is_hidden, write
from consumers.address_sync.store import Change
from consumers.address_sync.sync.details import ask_for_reports
from consumers.address_sync.sync.runs import Entry, Run, Runs, count_change
from consumers.address_sync.sync.sync_read import CallMeter, Progress
from dingbridge import Conflict
from dingbridge.dingtalk.errors import PermissionDenied

STEPS = ("fetch_roles", "fetch_department", "gone_department", "fetch", "gone")
"""``fetch``: an event fetched it meanwhile; ``gone``: not read, perhaps gone."""


class Refetcher:
    """Works off the list of one run."""

    def __init__(self, runs: Runs, run: Run, fetcher: Fetcher, meter: CallMeter, progress: Progress) -> None:
        self._runs, self._run, self._fetcher, self._meter = runs, run, fetcher, meter
        self._progress = progress

    async def refetch(self, in_time: Callable[[], bool]) -> bool:
        """Fetch what is on the list while ``in_time()``; returns whether it is empty. Raises ``ApiError``."""
        done, known = 0, await self._runs.left(self._run)
        while (entry := await self._runs.next_todo(self._run, STEPS)) is not None:
            await self._one(entry)
            done += 1
            self._progress(done, known)
            if not in_time():
                return False
        return True

    async def _one(self, entry: Entry) -> None:
        run = self._run
        while True:
            await self._meter.call()
            found: Fetched | None
            try:
                found = await self._fetch(entry)
            except PermissionDenied as error:
                if not is_hidden(error):
                    raise
                found = None  # out of our sight: it stays as it is known
            if isinstance(found, FetchedUser):
                await self._meter.call(len(found.departments) + (found.roles is not None))
            changed = dict(run.changed)
            try:
                async with self._runs.database.transaction() as tx:
                    if found is not None:
                        change = await write(tx, run.corp_id, found)
                        self._note(found, change)
                        if change == "gone" and isinstance(found, FetchedUser):
                            await ask_for_reports(tx, run.corp_id, entry[1])
                    await self._runs.done_todo(tx, run, entry)
                    await self._runs.save(tx, run)
                return
            except Conflict:
                run.changed = changed

    async def _fetch(self, entry: Entry) -> Fetched:
        reader, corp_id = self._runs.reader, self._run.corp_id
        if entry[0] == "fetch_roles":
            return await self._fetcher.roles(reader, corp_id)
        if entry[0] in ("fetch_department", "gone_department"):
            return await self._fetcher.department(reader, corp_id, int(entry[1]))
        return await self._fetcher.user(reader, corp_id, entry[1])

    def _note(self, found: Fetched, change: Change | None) -> None:
        if change is None:
            return
        if isinstance(found, FetchedRoles):
            count_change(self._run, "roles_changed", 1)
        else:
            kind = "people" if isinstance(found, FetchedUser) else "departments"
            count_change(self._run, f"{kind}_{change}", 1)
