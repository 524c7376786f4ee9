"""Makes the archive equal to DingTalk for a span of time: lists ids by template and time, fetches what lacks.

DingTalk lists what was *started* in a span of at most 120 days, nothing older than 365 days, and at most
10,000 ids of one span (obtain-an-approval-list-of-instance-ids); a span that holds more is halved. What began
earlier and has not ended in the archive is asked for too: its end may have been missed.

A run keeps no state of its own: an instance that the archive has whole costs no call, so a run that is cut
off and begun again only lists again. Not here: who asks for it (``requests.py`` and ``cli.py``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select

from consumers.approval.fetcher import Fetcher
from consumers.approval.tables import KIND, approval_instances, guard
from dingbridge import Conflict
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import IDS_MOST, WINDOW_MS
from dingbridge.dingtalk.errors import ApiError, RateLimited
from dingbridge.error_location import error_location
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

OLDEST = timedelta(days=365) - timedelta(minutes=10)
"""How far back DingTalk lists, with some time for the listing itself."""
SHORTEST_MS = 60_000
"""A span is not halved further, in ms."""
AT_ONCE = 4
LONGEST_PAUSE_S = 120.0
"""A rate limit that lasts longer ends the run for now, in s."""
MOST_TRIES = 10
_PAGE = 500

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
    """How the instances of a run ended. ``failed`` counts those that could not be fetched
    (``not_fetched``), and those whose action failed, which ``approval_actions`` says. ``busy`` has the
    refusals that may be about one of them or about all."""

    archived: int = 0
    missing: int = 0
    failed: int = 0
    not_fetched: int = 0
    busy: list[ApiError] = field(default_factory=list)


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
            _columns.document_state != "missing",
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
        return len(ids) - len(await self._whole(ids))

    async def archive(self, ids: Mapping[str, str | None], on_done: OnProgress = _nobody_watches) -> Counts:
        """Archive the instances, by id and process code.

        Raises ``ApiError`` where it would be the same for all, or ``DatabaseDown``; what is archived by then
        stays.
        """
        counts, listed = Counts(), sorted(ids)
        for begin in range(0, len(listed), AT_ONCE):
            batch, busy = listed[begin : begin + AT_ONCE], len(counts.busy)
            # each ends before the next batch begins, so that nothing is lost when one of them stops us
            ended = await asyncio.gather(
                *(self._one(instance_id, ids[instance_id], counts) for instance_id in batch),
                return_exceptions=True,
            )
            for problem in ended:
                if isinstance(problem, BaseException):
                    raise problem
            if len(counts.busy) - busy == len(batch) > 1:
                raise counts.busy[-1]  # it is not one of them
            await on_done(len(batch))
        return counts

    async def _one(self, instance_id: str, code: str | None, counts: Counts) -> None:
        for left in reversed(range(MOST_TRIES)):
            try:
                await self._archive(instance_id, code, counts)
                return
            except Conflict:
                continue  # an event of the instance was written meanwhile
            except RateLimited as error:
                pause = error.retry_after_s or 1.0
                if pause > LONGEST_PAUSE_S or not left:
                    raise  # no fault of the instance, however long it lasts
                await asyncio.sleep(pause)
            except Exception as error:
                if isinstance(error, ApiError) and error.about == "busy" and error.code is not None:
                    counts.busy.append(error)
                elif is_unavailable(error) or (isinstance(error, ApiError) and error.about == "right"):
                    raise  # every other one would be refused as well, at a call each
                # a fault of one instance is no reason to leave out the others
                log.warning(
                    "approval.not_reconciled",
                    instance_id=instance_id,
                    code=error.code if isinstance(error, ApiError) else None,
                    error=error_location(error, "consumers"),
                )
                break
        counts.failed += 1
        counts.not_fetched += 1

    async def _archive(self, instance_id: str, code: str | None, counts: Counts) -> None:
        scope, db = self._scope, self._database.reader()
        snapshot = await guard.snapshot(db, scope.corp_id, KIND, instance_id)
        if await self._whole([instance_id]):
            fetched = await self._fetcher.unasked(scope.app, snapshot, db)
        else:
            fetched = await self._fetcher.fetch(self._client, scope.app, snapshot, db)
            if fetched.document is None:
                counts.missing += 1
                return
        fetched = replace(fetched, process_code=code)
        if await self._fetcher.write_alone(fetched, forced=scope.with_actions):
            counts.archived += 1
        else:
            counts.failed += 1

    async def _whole(self, ids: Sequence[str]) -> set[str]:
        """Those that the archive has whole, and that are at their end."""
        whole: set[str] = set()
        for begin in range(0, len(ids), _PAGE):
            rows = await self._database.reader().execute(
                select(_columns.instance_id).where(
                    _columns.corp_id == self._scope.corp_id,
                    _columns.instance_id.in_(ids[begin : begin + _PAGE]),
                    _columns.document_state == "full",
                    _columns.outcome.is_not(None),
                )
            )
            whole.update(row.instance_id for row in rows)
        return whole


def reachable(since: datetime) -> datetime:
    """``since``, or the earliest time that DingTalk lists if that is later."""
    return max(since, datetime.now(UTC) - OLDEST)
