"""The one loop of a mirror: takes entities that are due, a few at a time, and has each of them read.

Each priority has its share of the claims (``dingbridge/work_queue.py``), and reads for a full sync leave
places free. So a hire is read at once beside a full sync of any size. An entity that fails waits by itself.
While reads of one kind work for nobody, one of an app's is tried after each pause.

Not here: what a read does (``engine.py``).
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from dingbridge.availability import GIVE_UP_AFTER_S, Availability
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.errors import BridgeError
from dingbridge.mirror.entities import COMPANY, Entities
from dingbridge.mirror.leavers import WAITS
from dingbridge.retry import ASKED_MAX_S
from dingbridge.work_queue import RECONCILE, is_own, keep_working
from dingbridge.worker.outcomes import Conflict
from dingbridge.worker.reports import count, counts_by
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.errors import DatabaseDown

log = structlog.get_logger(__name__)

AT_ONCE: Final = 10
"""Reads under way at the same time in one process."""

FOR_SYNCS: Final = 8
"""So many of them, at most, are for full syncs."""

IDLE_S: Final = 0.5
"""How often a process asks whether something is due, in s."""

PAUSED_IDLE_S: Final = 2.0
"""The same while a kind is paused, in s: each question then reads all rows of that kind."""

REFUSED_AGAIN_S: Final = 3600.0
"""When an entity whose reads have failed for an hour is read again, in s."""

MEASURE_EVERY_S: Final = 10.0

Place = tuple[str, str]
"""An app and a kind of entity, which is an API of DingTalk's."""


class MirrorMetrics:
    """What is due, and what cannot be read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.due = Gauge(
            "dingbridge_mirror_due",
            "Entities that are due to be read: after hires and leavers (0), after other events (1), for a "
            "full sync (2); 10000 stands for more",
            ("priority",),
            registry=registry,
        )
        self.oldest = Gauge(
            "dingbridge_mirror_oldest_seconds",
            "How long the read of a hire, a leaver or another event that waits longest is overdue, in s",
            registry=registry,
        )
        self.leavers_waiting = Gauge(
            "dingbridge_mirror_leavers_waiting",
            "People whom DingTalk does not know, beyond the day's limit of leavers: they wait for dingbridge "
            "resync --confirm-leavers N",
            registry=registry,
        )
        self.not_read = Gauge(
            "dingbridge_mirror_not_read",
            "Entities that DingTalk refuses, by kind: they stay as they were",
            ("kind",),
            registry=registry,
        )
        self.sync_left = Gauge(
            "dingbridge_mirror_sync_left",
            "Entities that are still to be read for a full sync",
            registry=registry,
        )
        self.sync_every = Gauge(
            "dingbridge_mirror_sync_every_seconds",
            "The time between two full syncs, in s; 0: none is due but the first",
            registry=registry,
        )

    async def measure(self, entities: Entities, database: Database, kinds: Collection[str]) -> None:
        """Set them all. Raises ``DatabaseDown``."""
        c, reader, now_ms = entities.table.c, database.reader(), entities.now_ms()
        for priority, due in (await entities.queue.depth(reader)).items():
            self.due.labels(str(priority)).set(due)
        people = (c.priority < RECONCILE, c.due_ms <= now_ms, c.leased_ms <= now_ms)
        first_ms = await reader.scalar(select(func.min(c.due_ms)).where(*people))
        self.oldest.set(0 if first_ms is None else (now_ms - first_ms) / 1000)
        self.leavers_waiting.set(await count(reader, entities.table, c.state == WAITS))
        refused = await counts_by(reader, c.kind, c.state == "refused")
        for kind in kinds:
            self.not_read.labels(kind).set(refused[kind])
        left = select(c.entity_id).where(c.run_ms > 0, c.kind != COMPANY).limit(10_000).subquery()
        self.sync_left.set(await reader.scalar(select(func.count()).select_from(left)))


class Loop:
    """One process's reads of ``entities``. ``read`` reads the entity of a row, releases it, and returns
    whether DingTalk was asked. ``refused`` is called with a row that has had no answer for an hour."""

    def __init__(
        self,
        entities: Entities,
        database: Database,
        read: Callable[[Row[Any]], Awaitable[bool]],
        refused: Callable[[Row[Any], str, float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._entities, self._database, self._read, self._refused = entities, database, read, refused
        self._clock = clock
        self._availability: defaultdict[Place, Availability] = defaultdict(Availability)
        self._paused: dict[Place, float] = {}
        self._recovered: set[Place] = set()
        self._claim_at, self._syncing = 0.0, 0

        self.gave_up_on: ApiError | None = None
        """The last answer of a kind that works for nobody just now; None: all kinds work."""

        self.errors: dict[str, ApiError] = {}
        """The last failure of each kind that has had any."""

    async def run(self) -> None:
        """Read what is due until cancelled. Raises ``DatabaseDown``: call it again."""
        await keep_working(self._claim, self._one, AT_ONCE, IDLE_S)

    async def run_due(self) -> int:
        """Read what is due now; returns how many reads that were."""
        done = 0
        while rows := await self._claim(AT_ONCE):
            await asyncio.gather(*map(self._one, rows))
            done += len(rows)
        return done

    async def _claim(self, free: int) -> list[Row[Any]]:
        now, c = self._clock(), self._entities.table.c
        if now < self._claim_at:
            return []
        if self._recovered:
            of = [and_(c.app == app, c.kind == kind) for app, kind in self._recovered]
            self._recovered.clear()
            async with self._database.transaction() as tx:
                await self._entities.queue.recovered(tx, or_(*of))
        self._paused = {place: until for place, until in self._paused.items() if until > now}
        only: list[ColumnElement[bool]] = [or_(c.app != a, c.kind != k) for a, k in self._paused]
        for_syncs = min(free, FOR_SYNCS - self._syncing)
        if for_syncs <= 0:
            only.append(c.priority < RECONCILE)
        most = for_syncs if for_syncs > 0 else free
        if any(one.is_down for place, one in self._availability.items() if place not in self._paused):
            most = 1
        rows = await self._entities.queue.claim(self._database, most, *only)
        for row in rows:
            if (seen := self._availability[row.app, row.kind]).is_down:  # this is the one that is tried
                self._paused[row.app, row.kind] = now + seen.pause_s()
        self._syncing += sum(row.priority == RECONCILE for row in rows)
        wait_s = PAUSED_IDLE_S if self._paused and not rows else 0.0
        self._claim_at = min([now + wait_s, *self._paused.values()])
        return rows

    async def _one(self, row: Row[Any]) -> None:
        try:
            if await self._read(row):
                self._worked(row)
        except DatabaseDown:
            raise
        except Conflict:  # another process has it, or the database rolled back
            async with self._database.transaction() as tx:
                await self._entities.queue.give_back(tx, row)
        except Exception as error:
            await self._failed(row, error)
        except BaseException:  # we are to stop, others go on
            async with self._database.transaction() as tx:
                await self._entities.queue.give_back(tx, row)
            raise
        finally:
            self._syncing -= row.priority == RECONCILE

    def _worked(self, row: Row[Any]) -> None:
        place = row.app, row.kind
        if self._availability[place].worked(self._clock()):
            self._recovered.add(place)
        self.gave_up_on = None
        self._paused.pop(place, None)

    async def _failed(self, row: Row[Any], error: Exception) -> None:
        place, queue = (row.app, row.kind), self._entities.queue
        availability = self._availability[place]
        own = is_own(error, availability, None if row.failed_ms is None else row.failed_ms / 1000)
        values = queue.failure(row, availability, error, own=own)
        if isinstance(error, ApiError):
            self.errors[row.kind] = error
        if availability.is_down or own is False:
            asked_s = (isinstance(error, BridgeError) and error.retry_after_s) or 0.0
            self.gave_up_on = error if isinstance(error, ApiError) else None
            self._paused[place] = self._clock() + max(availability.pause_s(), min(asked_s, ASKED_MAX_S))
        again, now_ms = row.failed_ms is not None, self._entities.now_ms()
        # where nothing else of the kind is read, nothing can show that a failure is the entity's own
        alone = again and not availability.is_down and row.run_ms is not None
        late = alone and now_ms - row.run_ms > GIVE_UP_AFTER_S * 1000
        still = row.state == "refused" and not availability.is_down
        given_up = values["due_ms"] is None or late or still
        code = (isinstance(error, ApiError) and error.code) or type(error).__name__
        if given_up:
            await self._refused(row, code, REFUSED_AGAIN_S)
        else:
            if row.state is None:
                values["code"] = code
            async with self._database.transaction() as tx:
                await queue.release(tx, row, **values)
        level = log.error if given_up else log.warning
        where = error_location(error, "consumers")
        level("mirror.not_read", kind=row.kind, entity_id=row.entity_id, error=where, given_up=given_up)
