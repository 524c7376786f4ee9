"""``Mirror``, the base of consumers that keep tables equal to what DingTalk has.

An event only means *read this entity*, whatever it reports: ``handle`` makes the entity's row due
(``entities.py``), and ``background`` reads what is due (``loop.py``, ``engine.py``). With a ``table`` of
people all of this is ready; to mirror something else, too, override ``kinds`` and ``entity``.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import structlog
from sqlalchemy import Table

from dingbridge.dingtalk.api.objects import User
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.events.event import Event
from dingbridge.kafka.topic_policy import RESYNC
from dingbridge.logging import excerpt
from dingbridge.mirror import people
from dingbridge.mirror.chosen import Chosen
from dingbridge.mirror.engine import Engine
from dingbridge.mirror.entities import COMPANY, LISTING, USER, Entities, Entity, entities_table
from dingbridge.mirror.full_sync import FullSync
from dingbridge.mirror.kind import Kind
from dingbridge.mirror.leavers import LeaverLimit, share_of
from dingbridge.mirror.loop import MEASURE_EVERY_S, MirrorMetrics
from dingbridge.mirror.report import in_doubt
from dingbridge.snapshots.late_answers import said_by
from dingbridge.tasks import end
from dingbridge.throttle import Throttle
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.consumer import Table as Printed
from dingbridge.worker.context import Reader
from dingbridge.worker.metrics import full_comparison
from dingbridge.worker.store.forgetting import Forgotten, Person, forget_rows
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)


class Mirror(Consumer[None]):
    """A consumer whose tables equal DingTalk's. With ``table`` (made by ``people_table``) it is whole::

        class Staff(Mirror):
            name = "staff"
            table = people_table("staff", MetaData(), Column("name", Text), Column("mobile", Text))

    ``row`` makes the columns' values. Everybody is read at the first start of a company, every
    ``compare_every_days``, when events may be lost, and by ``dingbridge resync staff``.
    """

    topics: ClassVar[Sequence[str]] = people.TOPICS

    table: ClassVar[Table]
    """The people, with a ``corp_id``, a ``userid`` and a ``left_at``; made by ``people_table`` unless you
    override ``kinds``."""

    entities: ClassVar[Table]
    """Made for a ``table``; if you override ``kinds``, make it in your own metadata with
    ``entities_table``."""

    compare_every_days: float = 7
    """Days between two full syncs; 0: the first alone."""

    sync_calls_per_s: float = 10
    """Reads a second for full syncs; DingTalk allows an app 20 of each API, so events have the rest."""

    chosen: Chosen = Chosen()
    """The departments that full syncs walk; ``kinds`` decide what they write of the others."""

    clock: Callable[[], float] = staticmethod(lambda: time.time())
    """Epoch s; a test may bring another."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if isinstance(table := cls.__dict__.get("table"), Table) and "entities" not in cls.__dict__:
            people.check(cls.__qualname__, table, fields=cls.row is Mirror.row)
            cls.metadata = table.metadata
            cls.entities = entities_table(table.metadata, f"{table.name}_entities")
        elif "name" in cls.__dict__ and not hasattr(cls, "entities"):
            raise ValueError(f"{cls.__qualname__} has no table; {people.MADE_WITH}")
        super().__init_subclass__(**kwargs)
        cls.control_topics = tuple(dict.fromkeys((RESYNC, *cls.control_topics)))

    # What an author overrides

    def row(self, user: User) -> dict[str, Any]:
        """The columns of one person, from the result of ``v2/user/get``; by default the field of the same
        name, converted to the column's type, and NULL where the result lacks it. A field that DingTalk's
        rights may hide stays until answers about others show it (``withheld.py``)."""
        return people.row(self.table, user)

    def entity(self, event: Event) -> tuple[str, str] | None:
        """Kind and id of the entity to read for ``event``; None where it names nobody. May raise
        ``Reject``."""
        return None if event.subject is None else (USER, event.subject)

    def kinds(self) -> Mapping[str, Kind]:
        """What is read by id, by the name of its kind. ``user`` and ``department`` have the people and
        departments that a full sync finds."""
        entities = Entities(self.entities, lambda: self.clock())
        own = type(self).row is not Mirror.row
        return {USER: people.People(entities, self.table, self.row, own=own)}

    def leavers_allowed(self, employees: int) -> int:
        """How many of ``employees`` may be marked as left within 24 hours without an event about leaving.
        While more are missing, they wait for ``dingbridge resync NAME --confirm-leavers N``."""
        return share_of(employees)

    async def forget(self, person: Person, tx: Transaction) -> Forgotten:
        """Delete the person's row of ``table``. That of the entity stays: because of it a read that is under
        way writes nothing, and a listing brings nobody back."""
        await self.engine.entities.forget(tx, person.corp_id, USER, [person.userid])
        return await forget_rows(tx, person, {self.table: "userid"})

    async def show(self, db: Reader) -> list[Printed]:
        """The entities whose last read failed, that DingTalk refuses, whose fields were kept, or that wait
        beyond the limit of leavers; a table for each of these that has any."""
        return await in_doubt(db, self.entities)

    # The consumer

    @cached_property
    def engine(self) -> Engine:
        """The reads of this process."""
        entities, kinds = Entities(self.entities, lambda: self.clock()), self.kinds()
        return Engine(
            entities,
            kinds,
            FullSync(entities, kinds, self.compare_every_days, self.database, self.chosen),
            LeaverLimit(entities, self.table, self.leavers_allowed),
            self.database,
            self.dingtalk_of,
            Throttle(self.sync_calls_per_s),
            lambda: self.clock(),
        )

    async def start(self) -> None:
        self.dingtalk  # noqa: B018 - every event needs it: end in words now rather than at the first
        self.metrics = MirrorMetrics(self.registry)
        self.metrics.sync_every.set(self.compare_every_days * 86_400)
        self._synced = full_comparison(self.name, self.registry)
        self._planned: set[str] = set()

    async def background(self) -> None:
        """Read what is due until cancelled. Raises ``DatabaseDown``."""
        corp_id = self.settings.own_company()
        async with self.database.transaction() as tx:
            if self.database.dialect == "sqlite":  # one process alone uses it: what is leased, the dead had
                await self.engine.entities.queue.free(tx)
            if corp_id is not None:
                await self.engine.full_sync.plan(tx, self.settings.own_app, corp_id)
        tasks = [asyncio.create_task(self.engine.loop.run()), asyncio.create_task(self._measure())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            await end(*tasks)

    async def _measure(self) -> None:
        engine = self.engine
        while True:
            await self.metrics.measure(engine.entities, self.database, [*engine.kinds, LISTING, COMPANY])
            if (done_ms := await engine.full_sync.done_ms(self.database.reader())) is not None:
                self._synced.set(done_ms / 1000)
            await asyncio.sleep(MEASURE_EVERY_S)

    async def handle(self, event: Event, tx: Transaction, prepared: None) -> None:
        if event.type == RESYNC_REQUESTED:
            await self._resync(event, tx)
            return
        entity = self.entity(event)
        if entity is None:  # the bridge asks for a resync, too
            log.warning("mirror.event_without_ids", event_type=event.event_type, event_id=excerpt(event.id))
            return
        self.dingtalk_of(event.app, event.corp_id)  # raises Reject for an app that cannot be asked
        own = self.settings.own_company()  # of which ``background`` sees to its full syncs
        if event.corp_id not in (NO_CORP_ID, own, *self._planned):
            if not await self.engine.full_sync.is_planned(tx, event.corp_id):
                await self.engine.full_sync.plan(tx, event.app, event.corp_id)
            else:
                self._planned.add(event.corp_id)
        await self.engine.entities.report(
            tx,
            Entity(event.corp_id, *entity),
            event.app,
            said_by(event.event_type),
            round(event.time.timestamp() * 1000),
        )

    async def _resync(self, event: Event, tx: Transaction) -> None:
        """The bridge, or somebody by hand, asks for a full sync."""
        about = {"event_id": excerpt(event.id), "reason": excerpt(event.data.get("reason"))}
        named = event.corp_id if event.corp_id != NO_CORP_ID else None
        another = self.settings.concerns_another_app(event.app)
        own = self.settings.own_company()
        if event.data.get("part") == "approvals" or (another and named not in (None, own)):
            log.info("mirror.resync_for_others", **about)
            return
        corp_id = named or own
        await self.engine.full_sync.request(tx, self.settings.app_of(event.app), corp_id)
        log.info("mirror.resync_requested", **about)

    async def look_due(self) -> int:
        """Read what is due by ``clock``, as ``background`` does; returns how many reads that was. For
        tests."""
        return await self.engine.loop.run_due()
