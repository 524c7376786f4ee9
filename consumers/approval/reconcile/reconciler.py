"""Makes the archive equal to DingTalk for a span of time: lists ids by template and time, fetches what lacks.

DingTalk lists what was *started* in a span of at most 120 days, nothing older than 365 days, and at most
10,000 ids of one span (obtain-an-approval-list-of-instance-ids); a span that holds more is halved. What began
earlier and has not ended in the archive is asked for too: its end may have been missed.

A run keeps no state of its own: an instance that the archive has whole costs no call, so a run that is cut
off and begun again only lists again. Not here: who asks for it (``requests.py`` and ``cli.py``).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select

from consumers.approval.archive.query import whole
from consumers.approval.fetcher import Fetcher
from consumers.approval.tables import KIND, approval_instances, guard
from dingbridge import Conflict
from dingbridge.availability import Availability
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import IDS_MOST, WINDOW_MS
from dingbridge.dingtalk.errors import ApiError, RateLimited
from dingbridge.error_location import error_location
from dingbridge.errors import BridgeError
from dingbridge.work_queue import whose

log = structlog.get_logger(__name__)

OLDEST = timedelta(days=365) - timedelta(minutes=10)
"""How far back DingTalk lists, with some time for the listing itself."""
SHORTEST_MS = 60_000
"""A span is not halved further, in ms."""
AT_ONCE = 4
LONGEST_PAUSE_S = 120.0
"""How long a rate limit is waited for at once, in s."""
MOST_TRIES = 10

_columns = approval_instances.c


@dataclass(frozen=True, slots=True)
class Scope:
    """Which approvals: of one company, asked about at the app ``app``, started from ``since`` to ``until``.
    ``with_actions``: their actions are called as if their events had come."""

    corp_id: str
    app: str
    since: datetime
    until: datetime
    process_codes: tuple[str, ...]
    with_actions: bool = False

    def spans(self) -> list[tuple[str, int, int]]:
        """What is listed with one call, or one for each 20 ids: process code, first and last epoch ms."""
        start, end = (int(moment.timestamp() * 1000) for moment in (self.since, self.until))
        return [(code, *window) for code in self.process_codes for window in windows(start, end)]


@dataclass(slots=True)
class Counts:
    """How the instances of a run ended. ``left`` are those, by id and process code, that could not be
    fetched, or whose action failed."""

    archived: int = 0
    missing: int = 0
    left: dict[str, str | None] = field(default_factory=dict)


def windows(start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """The spans from ``start_ms`` to ``end_ms`` (both included), none longer than DingTalk lists."""
    while start_ms <= end_ms:
        last = min(start_ms + WINDOW_MS - 1, end_ms)
        yield start_ms, last
        start_ms = last + 1


async def template_codes(client: DingTalkClient) -> tuple[str, ...]:
    """The codes of all templates, at one call for a hundred. Raises ``ApiError``."""
    return tuple(str(t["processCode"]) for t in await client.templates() if t.get("processCode"))


OnProgress = Callable[[int], Awaitable[None]]
"""Awaited with how many more are done."""


async def _nobody_watches(count: int) -> None:
    pass


class Reconciler:
    """One run over ``scope``, with ``client`` at the priority that its calls shall have."""

    def __init__(self, fetcher: Fetcher, client: DingTalkClient, scope: Scope) -> None:
        self._fetcher, self._client, self._scope = fetcher, client, scope
        self._database = fetcher.database

    async def list_ids(self, on_listed: OnProgress = _nobody_watches) -> dict[str, str | None]:
        """Instance ids, each with its process code (None: not known). Raises ``ApiError``."""
        found: dict[str, str | None] = {}
        unfinished = select(_columns.instance_id, _columns.process_code).where(
            _columns.corp_id == self._scope.corp_id,
            _columns.process_code.in_(self._scope.process_codes) | _columns.process_code.is_(None),
            _columns.outcome.is_(None),
        )
        for instance_id, code in map(tuple, await self._database.reader().execute(unfinished)):
            found[instance_id] = code
        for code, start, end in self._scope.spans():
            found |= dict.fromkeys(await self._list(code, start, end), code)
            await on_listed(1)
        return found

    async def _list(self, code: str, start: int, end: int) -> list[str]:
        ids = [id_ async for id_ in self._client.approval_ids(code, start_ms=start, end_ms=end)]
        if len(ids) < IDS_MOST or end - start <= SHORTEST_MS:
            return ids
        middle = (start + end) // 2
        return [*await self._list(code, start, middle), *await self._list(code, middle + 1, end)]

    async def count_calls(self, ids: Sequence[str]) -> int:
        """How many of ``ids`` are to be fetched, by one call each."""
        return len(ids) - len(await whole(self._database.reader(), self._scope.corp_id, ids))

    async def archive(self, ids: Mapping[str, str | None], on_done: OnProgress = _nobody_watches) -> Counts:
        """Archive the instances, by id and process code.

        One that fails is put behind the others; where one of them works meanwhile, or all are done but those
        that failed, it is left out (``left``), else it is raised after a few. Raises ``ApiError``,
        ``DatabaseDown``, or whatever failed for all; what is archived by then stays.
        """
        counts, availability, waiting = Counts(), Availability(), deque(sorted(ids))
        have = await whole(self._database.reader(), self._scope.corp_id, sorted(ids))
        failed_at: dict[str, float] = {}
        limited, served = 0, False
        while waiting:
            batch = [waiting.popleft() for _ in range(min(AT_ONCE, len(waiting)))]
            # each ends before the next batch begins, so that nothing is lost when one of them stops us
            ended = await asyncio.gather(
                *(self._one(id_, ids[id_], id_ in have, counts) for id_ in batch), return_exceptions=True
            )
            now = time.time()
            problems = {id_: error for id_, error in zip(batch, ended, strict=True) if error is not None}
            if len(problems) < len(batch):
                availability.worked(now)
                limited, served = 0, True
            again = 0
            untried = not served or any(id_ not in failed_at for id_ in waiting)
            for instance_id, error in problems.items():
                if isinstance(error, RateLimited) and limited < MOST_TRIES:
                    limited += 1
                    await asyncio.sleep(min(error.retry_after_s or 1.0, LONGEST_PAUSE_S))
                elif self._is_own(error, failed_at.get(instance_id), availability, now, untried):
                    counts.left[instance_id] = ids[instance_id]
                    log.warning(
                        "approval.not_reconciled",
                        instance_id=instance_id,
                        code=error.code if isinstance(error, ApiError) else None,
                        error=error_location(error, "consumers"),
                    )
                    continue
                failed_at[instance_id] = now
                waiting.append(instance_id)
                again += 1
            await on_done(len(batch) - again)
        return counts

    @staticmethod
    def _is_own(
        error: BaseException, before: float | None, availability: Availability, now: float, untried: bool
    ) -> bool:
        """Raises ``error`` where every other one would be refused as well, at a call each."""
        own = whose(error) if isinstance(error, BridgeError) else isinstance(error, Exception)
        if own is None:
            own = availability.failed(before, now)
            if own or not availability.is_down:
                return own
            own = not untried
        if own is not True:
            raise error
        return True

    async def _one(self, instance_id: str, code: str | None, have: bool, counts: Counts) -> None:
        scope, db = self._scope, self._database.reader()
        for left in reversed(range(MOST_TRIES)):
            snapshot = await guard.snapshot(db, scope.corp_id, KIND, instance_id)
            if have:
                fetched = await self._fetcher.unasked(scope.app, snapshot, db)
            else:
                fetched = await self._fetcher.fetch(self._client, scope.app, snapshot, db)
                if fetched.document is None:
                    counts.missing += 1
                    return
            fetched = replace(fetched, process_code=code)
            try:
                async with self._database.transaction() as tx:
                    written = await self._fetcher.write(tx, fetched, forced=scope.with_actions, tolerant=True)
            except Conflict:  # an event of the instance was written meanwhile
                if not left:
                    raise
                continue
            if written.failed:
                counts.left[instance_id] = code  # it is archived, and ``approval_actions`` says why
            else:
                counts.archived += 1
            return


def reachable(since: datetime) -> datetime:
    """``since``, or the earliest time that DingTalk lists if that is later."""
    return max(since, datetime.now(UTC) - OLDEST)
