"""``Mirror``, the base of consumers that keep tables equal to DingTalk's people.

An event only means *fetch this entity*, whatever it reports: ``prepare`` fetches, ``handle`` writes what
differs, under a version guard. If the answer may be older than the event, ``handle`` leaves a row to fetch
again (``look_again.py``). With a ``table`` of people all of this is ready; to mirror something else, override
``entity``, ``fetch``, ``write`` and ``resync``.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar

import structlog
from sqlalchemy import Row, Table, delete, select

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.objects import User
from dingbridge.dingtalk.errors import NotFound, PermissionDenied
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.event import Event
from dingbridge.logging import excerpt
from dingbridge.mirror import people
from dingbridge.mirror.comparison import Comparison
from dingbridge.mirror.leavers import LeaverLimit, usual_share
from dingbridge.mirror.look_again import Entity, LookAgain, believed, look_again_table
from dingbridge.snapshots import FetchAttempt, VersionGuard
from dingbridge.snapshots.late_answers import agrees, may_be_old, said_by
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.context import Context, Reader
from dingbridge.worker.outcomes import Reject
from dingbridge.worker.store.forgetting import Forgotten, Person, texts_in
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """DingTalk's answer about one entity: ``found`` is what ``Mirror.fetch`` returned."""

    of: FetchAttempt
    found: Any
    exists: bool


class Mirror(Consumer[Answer | None]):
    """A consumer whose tables equal DingTalk's. With ``table`` (made by ``people_table``) it is whole::

        class Staff(Mirror):
            name = "staff"
            table = people_table("staff", MetaData(), Column("name", Text), Column("mobile", Text))

    ``row`` makes the columns' values. Everybody is compared at the first event of a company, every
    ``compare_every_days``, when events may be lost, and by ``dingbridge resync staff``.
    """

    topics: ClassVar[Sequence[str]] = people.TOPICS

    table: ClassVar[Table]
    """The people, made by ``people_table``; left out if you override ``entity``, ``fetch`` and ``write``."""

    compare_every_days: ClassVar[float] = 7
    """Days between two comparisons of everybody; 0: the first alone."""

    guard: ClassVar[VersionGuard]
    look_again: ClassVar[Table]
    """Made for a ``table``; if you override ``fetch`` and ``write``, make both in your own metadata."""

    clock: Callable[[], float] = staticmethod(lambda: time.time())
    """Epoch s; a test may bring another."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if isinstance(table := cls.__dict__.get("table"), Table):
            people.check(cls.__qualname__, table, fields=cls.row is Mirror.row)
            cls.metadata = table.metadata
            cls.guard = VersionGuard(table.metadata, f"{table.name}_generations")
            cls.look_again = look_again_table(table.metadata, f"{table.name}_look_again")
        elif "name" in cls.__dict__ and not hasattr(cls, "guard"):
            raise ValueError(f"{cls.__qualname__} has no table; {people.MADE_WITH}")
        super().__init_subclass__(**kwargs)

    @cached_property
    def looks(self) -> LookAgain:
        """The queue of entities to be fetched again."""
        return LookAgain(self.look_again, self.clock, self.registry)

    @cached_property
    def leavers(self) -> LeaverLimit:
        """The limit of people who are marked as left without an event about leaving."""
        return LeaverLimit(
            self.look_again,
            getattr(self, "table", None),
            self.leavers_allowed,
            clock=lambda: self.clock(),
            app=self.settings.consumer_app,
        )

    @cached_property
    def comparison(self) -> Comparison | None:
        """The comparison of everybody in ``table``."""
        if not hasattr(self, "table"):
            return None
        return Comparison(self.table, self.looks, self.compare_every_days, self.database)

    # What an author overrides

    def row(self, user: User) -> dict[str, Any]:
        """The columns of one person, from the result of ``v2/user/get``; by default the field of the same
        name, converted to the column's type, and NULL where the result lacks it."""
        return people.row(self.table, user)

    def entity(self, event: Event) -> tuple[str, str] | None:
        """Kind and id of the entity to fetch for ``event``; None where it names nobody. May raise
        ``Reject``."""
        return None if event.subject is None else ("user", event.subject)

    async def fetch(self, client: DingTalkClient, db: Reader, of: FetchAttempt) -> Any:
        """Ask DingTalk. Raises ``NotFound`` for what is not there, ``PermissionDenied`` and any other
        ``ApiError``."""
        return await client.user(of.entity_id)

    async def write(self, tx: Transaction, answer: Answer, *, gone_at: datetime, reported: bool) -> bool:
        """Make the tables equal to ``answer``; returns whether they differed. The guard is already claimed.
        For an entity that does not exist, ``gone_at`` is since when; ``reported``: that time is from an
        event about leaving."""
        row = None if answer.found is None else self.row(answer.found)
        return await people.write(tx, self.table, answer.of, row, gone_at=gone_at)

    async def undecided(self, tx: Transaction, of: FetchAttempt) -> bool:
        """Whether a later answer about the entity must decide what this one, just written, left open."""
        return False

    async def resync(self, event: Event, ctx: Context) -> None:
        """The bridge, or ``dingbridge resync``, asks for a comparison of everything."""
        if self.comparison is not None:
            await self.comparison.ask(event.app, event.corp_id, again=True)

    def leavers_allowed(self, employees: int) -> int:
        """How many of ``employees`` may be marked as left within 24 hours without an event about leaving;
        whoever comes after these waits for ``dingbridge resync NAME --confirm-leavers N``."""
        return usual_share(employees)

    def exists(self, found: Any) -> bool:
        """Whether what ``fetch`` returned is there."""
        return found is not None

    async def forget(self, person: Person, tx: Transaction) -> Forgotten:
        """Delete the person's row of ``table``. The generation stays: because of it a fetch that is under way
        begins again, and then finds nobody."""
        entity = Entity(person.corp_id, "user", person.userid)
        await self.guard.outdate(tx, person.corp_id, "user", [person.userid])
        await self.looks.end(tx, entity)
        await self.leavers.forget(tx, person.corp_id, [person.userid])
        if not hasattr(self, "table"):
            return Forgotten()
        c = self.table.c
        where = (c.corp_id == person.corp_id, c.userid == person.userid)
        row = (await tx.execute(select(self.table).where(*where))).mappings().one_or_none()
        gone = await tx.execute(delete(self.table).where(*where))
        return Forgotten({self.table.name: gone.rowcount}, texts=texts_in({} if row is None else dict(row)))

    # The consumer

    async def start(self) -> None:
        self.dingtalk  # noqa: B018 - every event needs it: end in words now rather than at the first

    async def background(self) -> None:
        await self.looks.run(self.database, self._look)

    def fetches(self, event: Event) -> Hashable | None:
        """Events of one entity that wait together are one fetch."""
        try:
            entity = None if event.type == RESYNC_REQUESTED else self.entity(event)
        except Reject:
            return None
        return entity and (event.app, event.corp_id, *entity)

    async def prepare(self, event: Event, ctx: Context) -> Answer | None:
        """None if there is nothing to write."""
        if event.type == RESYNC_REQUESTED:
            await self.resync(event, ctx)
            return None
        entity = self.entity(event)
        if entity is None:  # the bridge asks for a resync, in the inbox
            log.warning("mirror.event_without_ids", event_type=event.event_type, event_id=excerpt(event.id))
            return None
        if self.comparison is not None:
            await self.comparison.ask(event.app, event.corp_id)
        return await self._ask(ctx.dingtalk, ctx.db, Entity(event.corp_id, *entity))

    async def handle(self, event: Event, tx: Transaction, prepared: Answer | None) -> None:
        if prepared is None:
            return
        of, events = prepared.of, tx.ctx.together
        telling = [one for one in events if said_by(one.event_type) != "changed"] or events
        newest = max(telling, key=lambda one: one.time)
        said, now = said_by(newest.event_type), of.began_at.timestamp()
        await self.guard.claim(tx, of)
        changed = False
        if believed(said, 1, exists=prepared.exists):
            changed = await self.write(tx, prepared, gone_at=newest.time, reported=said == "absent")
        log.debug(
            "mirror.handled",
            kind=of.kind,
            event_id=excerpt(event.id),
            exists=prepared.exists,
            changed=changed,
        )
        entity = Entity(of.corp_id, of.kind, of.entity_id)
        alone = len(events) == 1 and not (of.last_fetch_at and may_be_old(of.last_fetch_at.timestamp(), now))
        agreed = alone and agrees(said, exists=prepared.exists, changed=changed)
        if agreed and said == "changed":  # the change that it shows may be that of an earlier event
            agreed = not (await self.looks.waits(tx, entity) or await self.undecided(tx, of))
        if agreed:
            await self.looks.end(tx, entity)
        else:
            await self.looks.begin(tx, entity, event.app, said, round(newest.time.timestamp() * 1000))

    async def look_due(self) -> int:
        """Do what is due by ``clock``, as ``background`` does; returns how many looks that was. For tests."""
        return await self.looks.run_due(self.database, self._look)

    async def _look(self, row: Row[Any]) -> None:
        """One look again, or a step of a comparison."""
        client = self.dingtalk_of(row.app, row.corp_id)
        if self.comparison is not None and await self.comparison.step(row, client):
            return
        reader = self.database.reader()
        answer = await self._ask(client, reader, Entity(row.corp_id, row.kind, row.entity_id))
        async with self.database.transaction() as tx:
            if answer is None:
                await self.looks.queue.done(tx, row)
                return
            await self.guard.claim(tx, answer.of)
            if believed(row.said, row.looks + 1, exists=answer.exists):
                at = datetime.fromtimestamp((row.said_ms or self.looks.queue.now_ms()) / 1000, UTC)
                reported = row.said == "absent"
                limited = row.kind == "user" and not answer.exists and not reported
                if not limited or await self.leavers.take(tx, row.corp_id, [row.entity_id], row.app):
                    await self.write(tx, answer, gone_at=at, reported=reported)
            undecided = await self.undecided(tx, answer.of)
            await self.looks.looked(tx, row, exists=answer.exists, undecided=undecided)

    async def _ask(self, client: DingTalkClient, db: Reader, entity: Entity) -> Answer | None:
        """None for an entity outside of the app's scope: its rows stay as they are."""
        of = await self.guard.begin(db, *entity, began_at=datetime.fromtimestamp(self.clock(), UTC))
        try:
            found = await self.fetch(client, db, of)
        except NotFound:
            found = None
        except PermissionDenied as error:
            if error.about != "entity":
                raise
            log.warning("entity.not_visible", kind=of.kind, entity_id=of.entity_id, errcode=error.errcode)
            return None
        return Answer(of, found, self.exists(found))
