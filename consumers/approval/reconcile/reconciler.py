"""Makes the archive equal to DingTalk for a span of time: lists ids by template and time, fetches the
missing.

DingTalk lists what was *started* in a span of at most 120 days, nothing older than 365 days, and at most
10,000 ids of one span (obtain-an-approval-list-of-instance-ids); a span that holds more is halved. What began
earlier and has not ended in the archive is asked for too: its end may have been missed.

A run keeps no state of its own: an instance that the archive has whole costs no call, so a run that is
interrupted and started again only lists again. Not here: who starts it (``requests.py`` and ``cli.py``).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select

from dingbridge import Conflict
from dingbridge.consumers.approval.actions.action_state import WithoutEvent
from dingbridge.consumers.approval.archive.query import whole
from dingbridge.consumers.approval.fetcher import Fetcher
from dingbridge.consumers.approval.tables import KIND, approval_instances, guard
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
"""A rate limit that lasts longer ends the run for now, in s."""
MOST_TRIES = 10

_columns = approval_instances.c


@dataclass(frozen=True, slots=True)
class Scope:
    """Which approvals: of one company, asked about at the app ``app``, started from ``since`` to ``until``.
    ``without_event``: the approvals whose actions are called although no event came."""

    corp_id: str
    app: str
    since: datetime
    until: datetime
    process_codes: tuple[str, ...]
    without_event: WithoutEvent = "none"

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
        """Instance ids, each with its process code (None: not known). A template that DingTalk refuses to
        list, unlike others, is named in the log and left out. Raises ``ApiError``."""
        found: dict[str, str | None] = {}
        unfinished = select(_columns.instance_id, _columns.process_code).where(
            _columns.corp_id == self._scope.corp_id,
            _columns.process_code.in_(self._scope.process_codes) | _columns.process_code.is_(None),
            _columns.outcome.is_(None),
        )
        for instance_id, code in map(tuple, await self._database.reader().execute(unfinished)):
            found[instance_id] = code
        spans, refused = self._scope.spans(), 0
        for code, start, end in spans:
            try:
                found |= dict.fromkeys(await self._list(code, start, end), code)
            except ApiError as error:
                refused += 1
                if error.about != "entity" or refused == len(spans):
                    raise
                log.warning("approval.template_not_listed", process_code=code, code=error.code)
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
        """Archive the instances, by id and process code, in random order: else the same few could end each
        run.

        Raises ``ApiError`` where it would be the same for all, or ``DatabaseDown``; what is archived by then
        stays.
        """
        counts, listed = Counts(), random.sample(sorted(ids), len(ids))
        have = await whole(self._database.reader(), self._scope.corp_id, listed)
        for begin in range(0, len(listed), AT_ONCE):
            batch = listed[begin : begin + AT_ONCE]
            # each ends before the next batch begins, so that nothing is lost when one of them stops us
            ended = await asyncio.gather(
                *(self._one(id_, ids[id_], id_ in have, counts) for id_ in batch), return_exceptions=True
            )
            problems = {id_: error for id_, error in zip(batch, ended, strict=True) if error is not None}
            alone = len(problems) < len(batch) or len(batch) == 1
            for instance_id, error in problems.items():
                own = whose(error) if isinstance(error, BridgeError) else True
                if not isinstance(error, Exception) or not (alone if own is None else own):
                    raise error  # every other one would be refused as well, at a call each
                counts.left[instance_id] = ids[instance_id]
                log.warning(
                    "approval.not_reconciled",
                    instance_id=instance_id,
                    code=error.code if isinstance(error, ApiError) else None,
                    error=error_location(error, "consumers"),
                )
            await on_done(len(batch))
        return counts

    async def _one(self, instance_id: str, code: str | None, have: bool, counts: Counts) -> None:
        scope, db = self._scope, self._database.reader()
        for left in reversed(range(MOST_TRIES)):
            try:
                attempt = await guard.begin(db, scope.corp_id, KIND, instance_id)
                if have:
                    fetched = await self._fetcher.unasked(scope.app, attempt, db)
                else:
                    fetched = await self._fetcher.fetch(self._client, scope.app, attempt, db)
                if fetched.asked and fetched.document is None:
                    counts.missing += 1
                    return
                fetched = replace(fetched, process_code=code)
                async with self._database.transaction() as tx:
                    written = await self._fetcher.write(
                        tx, fetched, without_event=scope.without_event, tolerant=True
                    )
            except (Conflict, RateLimited) as error:
                pause_s = (error.retry_after_s or 1.0) if isinstance(error, RateLimited) else 0.0
                if not left or pause_s > LONGEST_PAUSE_S:
                    raise
                await asyncio.sleep(pause_s)
            else:
                counts.archived += not written.failed
                if written.failed:  # it is archived, and ``approval_actions`` says why
                    counts.left[instance_id] = code
                return


def reachable(since: datetime) -> datetime:
    """``since``, or the earliest time that DingTalk lists if that is later."""
    return max(since, datetime.now(UTC) - OLDEST)
