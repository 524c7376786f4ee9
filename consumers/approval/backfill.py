"""Archives approvals from before the bridge: lists their ids by template and time, and fetches each once.

DingTalk lists what was *started* in a span of at most 120 days, nothing older than 365 days, and at most
10,000 ids of one span (operation-to-retrieve-a-list-of); a span that holds more is halved. What is listed and
what is fetched stands in ``approval_backfills`` and ``approval_backfill_items``, so that a run which is cut
off goes on where it was. An instance that the archive has whole costs no call. Not here: the command
(``consumers/approval/cli.py``).
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, func, insert, select, update

from consumers.approval.looks import Looks, Seen
from consumers.approval.tables import (
    KIND,
    approval_backfill_items,
    approval_backfills,
    approval_instances,
    guard,
)
from dingbridge import Conflict
from dingbridge.dingtalk.api.approvals import IDS_MOST, WINDOW_MS
from dingbridge.dingtalk.errors import ApiError, RateLimited
from dingbridge.error_location import error_location
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

OLDEST = timedelta(days=365) - timedelta(minutes=10)
"""How far back DingTalk lists, with some time for the listing itself."""
RESUMABLE = timedelta(days=7)
"""A run that was begun earlier is not gone on with: what it listed is too old."""
KEPT = timedelta(days=90)
SHORTEST_MS = 60_000
"""A span is not halved further, in ms."""
AT_ONCE = 4
LONGEST_PAUSE_S = 120.0
"""A rate limit that lasts longer ends the run for now, in s."""
MOST_AGAIN = 10

_runs, _items = approval_backfills.c, approval_backfill_items.c
Span = tuple[str, int, int]
"""Process code, and first and last epoch ms."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What shall be archived. ``until`` None means until now, no ``process_codes`` every template."""

    corp_id: str
    since: datetime
    until: datetime | None
    process_codes: tuple[str, ...] = ()
    with_actions: bool = False
    words: str = ""
    """The times as they were asked for: ``30d`` means the same when the run is gone on with tomorrow."""

    def spec(self) -> str:
        """The same text for the same question, by which a run that was cut off is found again."""
        words = self.words or f"{self.since.isoformat()} {self.until and self.until.isoformat()}"
        return json.dumps([words, sorted(self.process_codes), self.with_actions], separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Run:
    """A run, as it stands. ``resumed``: it was begun earlier."""

    run_id: str
    corp_id: str
    since: datetime
    until: datetime
    process_codes: tuple[str, ...]
    with_actions: bool
    listed: frozenset[Span]
    resumed: bool

    def spans(self) -> list[Span]:
        """What is to be listed still."""
        start, end = (int(moment.timestamp() * 1000) for moment in (self.since, self.until))
        return [
            span
            for code in self.process_codes
            for span in ((code, *window) for window in windows(start, end))
            if span not in self.listed
        ]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run will do: of ``found`` instances in the lists, ``waiting`` are not done, and ``calls`` of
    these are fetched, by one call each."""

    found: int
    waiting: int
    calls: int


def windows(start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """The spans from ``start_ms`` to ``end_ms`` (both included), none longer than DingTalk lists."""
    while start_ms <= end_ms:
        last = min(start_ms + WINDOW_MS - 1, end_ms)
        yield start_ms, last
        start_ms = last + 1


class Backfill:
    """One run, with ``looks`` at the priority that its calls shall have."""

    def __init__(self, looks: Looks) -> None:
        self._looks, self._database, self._client = looks, looks.database, looks.dingtalk
        self.not_fetched = 0
        """How many of those that failed did so before anything of them was archived."""

    async def begin(self, asked: Asked) -> Run:
        """The run that answers ``asked``: the one that was cut off, or a new one. Looks the templates up
        where none are named, which costs a call for a hundred. Raises ``ApiError``."""
        unfinished = select(approval_backfills).where(
            _runs.corp_id == asked.corp_id,
            _runs.spec == asked.spec(),
            _runs.state == "running",
            _runs.created_at > datetime.now(UTC) - RESUMABLE,
        )
        found = (await self._database.reader().execute(unfinished)).first()
        if found is not None:
            return Run(
                run_id=found.run_id,
                corp_id=found.corp_id,
                since=found.since,
                until=found.until,
                process_codes=tuple(json.loads(found.process_codes)),
                with_actions=found.with_actions,
                listed=frozenset((code, start, end) for code, start, end in json.loads(found.listed)),
                resumed=True,
            )
        codes = asked.process_codes
        if not codes:
            templates = await self._client.templates()
            codes = tuple(str(t["process_code"]) for t in templates if t.get("process_code"))
        now = datetime.now(UTC)
        return Run(
            run_id=secrets.token_hex(8),
            corp_id=asked.corp_id,
            since=max(asked.since, now - OLDEST),
            until=min(asked.until or now, now),
            process_codes=codes,
            with_actions=asked.with_actions,
            listed=frozenset(),
            resumed=False,
        )

    async def keep(self, run: Run, asked: Asked) -> None:
        """Write a new run down, so that it can be gone on with."""
        now = datetime.now(UTC)
        old = select(_runs.run_id).where(_runs.created_at <= now - KEPT)
        async with self._database.transaction() as tx:
            await tx.execute(delete(approval_backfill_items).where(_items.run_id.in_(old)))
            await tx.execute(delete(approval_backfills).where(_runs.created_at <= now - KEPT))
            await tx.execute(
                insert(approval_backfills).values(
                    run_id=run.run_id,
                    corp_id=run.corp_id,
                    spec=asked.spec(),
                    since=run.since,
                    until=run.until,
                    process_codes=json.dumps(run.process_codes),
                    listed="[]",
                    with_actions=run.with_actions,
                    state="running",
                    created_at=now,
                )
            )

    async def list_ids(self, run: Run, on_listed: Callable[[int], None] = lambda spans: None) -> Run:
        """List what is not listed yet. Raises ``ApiError``, and goes on from there the next time."""
        for span in run.spans():
            await self._list(run, span)
            run = replace(run, listed=run.listed | {span})
            async with self._database.transaction() as tx:
                await tx.execute(
                    update(approval_backfills)
                    .where(_runs.run_id == run.run_id)
                    .values(listed=json.dumps(sorted(run.listed)))
                )
            on_listed(1)
        return run

    async def _list(self, run: Run, span: Span) -> None:
        code, start, end = span
        ids = [id_ async for id_ in self._client.approval_ids(code, start_ms=start, end_ms=end)]
        async with self._database.transaction() as tx:
            for id_ in ids:
                item = {"run_id": run.run_id, "instance_id": id_, "process_code": code, "state": "waiting"}
                await tx.execute(tx.insert(approval_backfill_items).values(item).on_conflict_do_nothing())
        if len(ids) >= IDS_MOST and end - start > SHORTEST_MS:
            middle = (start + end) // 2
            await self._list(run, (code, start, middle))
            await self._list(run, (code, middle + 1, end))

    async def add_unfinished(self, run: Run) -> None:
        """Add what began before ``run`` and has not ended in the archive: its end may have been missed."""
        columns = approval_instances.c
        unfinished = select(columns.instance_id, columns.process_code).where(
            columns.corp_id == run.corp_id, columns.outcome.is_(None)
        )
        rows = (await self._database.reader().execute(unfinished)).all()
        async with self._database.transaction() as tx:
            for row in rows:
                item = {"run_id": run.run_id, "instance_id": row.instance_id, "state": "waiting"}
                item["process_code"] = row.process_code
                await tx.execute(tx.insert(approval_backfill_items).values(item).on_conflict_do_nothing())

    async def cost(self, run: Run) -> Cost:
        """What is to be fetched of what is listed."""
        db = self._database.reader()
        found = select(func.count()).select_from(approval_backfill_items).where(_items.run_id == run.run_id)
        waiting = found.where(_items.state.in_(("waiting", "failed")))
        known = waiting.where(
            select(approval_instances.c.instance_id)
            .where(
                approval_instances.c.corp_id == run.corp_id,
                approval_instances.c.instance_id == _items.instance_id,
                *_whole(),
            )
            .exists()
        )
        total, open_ = await db.scalar(found), await db.scalar(waiting)
        return Cost(total, open_, open_ - await db.scalar(known))

    async def fetch(
        self, run: Run, on_done: Callable[[int], None] = lambda instances: None
    ) -> dict[str, int]:
        """Archive what is waiting; how many ended as ``done``, ``missing`` and ``failed``.

        Raises ``ApiError`` when the world is down, or ``DatabaseDown``; the next run goes on from there.
        """
        async with self._database.transaction() as tx:
            await tx.execute(
                update(approval_backfill_items)
                .where(_items.run_id == run.run_id, _items.state == "failed")
                .values(state="waiting")
            )
        while batch := await self._waiting(run):
            # each ends before the next batch begins, so that nothing is lost when one of them stops us
            ended = await asyncio.gather(
                *(self._one(run, instance_id, code) for instance_id, code in batch), return_exceptions=True
            )
            for problem in ended:
                if isinstance(problem, BaseException):
                    raise problem
            on_done(len(batch))
        return await self._end(run)

    async def _waiting(self, run: Run) -> Sequence[tuple[str, str]]:
        waiting = select(_items.instance_id, _items.process_code).where(
            _items.run_id == run.run_id, _items.state == "waiting"
        )
        rows = await self._database.reader().execute(waiting.order_by(_items.instance_id).limit(AT_ONCE))
        return [(row.instance_id, row.process_code) for row in rows]

    async def _one(self, run: Run, instance_id: str, code: str) -> None:
        for left in reversed(range(MOST_AGAIN)):
            try:
                state = await self._archive(run, instance_id, code)
                break
            except Conflict:
                continue  # an event of the instance was written meanwhile
            except RateLimited as error:
                pause = error.retry_after_s or 1.0
                if pause > LONGEST_PAUSE_S or not left:
                    raise  # no fault of the instance, however long it lasts
                await asyncio.sleep(pause)
            except Exception as error:
                if is_unavailable(error):
                    raise
                # a fault of one instance is no reason to leave out the others
                errcode = error.errcode if isinstance(error, ApiError) else None
                log.warning(
                    "approval.not_backfilled",
                    instance_id=instance_id,
                    errcode=errcode,
                    error=error_location(error, "consumers"),
                )
                state = "failed"
                self.not_fetched += 1
                break
        else:
            state = "failed"
            self.not_fetched += 1
        async with self._database.transaction() as tx:
            await tx.execute(
                update(approval_backfill_items)
                .where(_items.run_id == run.run_id, _items.instance_id == instance_id)
                .values(state=state)
            )

    async def _archive(self, run: Run, instance_id: str, code: str) -> str:
        db, columns = self._database.reader(), approval_instances.c
        look = await guard.snapshot(db, run.corp_id, KIND, instance_id)
        whole = select(columns.instance_id).where(
            columns.corp_id == run.corp_id, columns.instance_id == instance_id, *_whole()
        )
        if await db.scalar(whole) is not None:
            seen = Seen(look)
        else:
            seen = await self._looks.fetch(look, None, db)
            if seen.document is None:
                return "missing"
        whole_of_it = await self._looks.keep(replace(seen, process_code=code), forced=run.with_actions)
        return "done" if whole_of_it else "failed"

    async def _end(self, run: Run) -> dict[str, int]:
        """Count; and close the run, unless something of it failed."""
        counted = select(_items.state, func.count()).where(_items.run_id == run.run_id).group_by(_items.state)
        rows = await self._database.reader().execute(counted)
        counts = {"done": 0, "missing": 0, "failed": 0} | {state: count for state, count in map(tuple, rows)}
        if not counts["failed"]:
            async with self._database.transaction() as tx:
                await tx.execute(
                    update(approval_backfills)
                    .where(_runs.run_id == run.run_id)
                    .values(state="done", done_at=datetime.now(UTC))
                )
                await tx.execute(delete(approval_backfill_items).where(_items.run_id == run.run_id))
        return counts


def _whole() -> tuple[Any, ...]:
    """Of an instance that the archive has whole, and that is at its end."""
    columns = approval_instances.c
    return columns.document_state == "full", columns.outcome.is_not(None)
