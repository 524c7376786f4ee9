"""What becomes of a record that is given up: into the dead letters, and its key blocked if that is asked for.

A process may die, freeze or lose the partition between any two of these steps, and each finds what was done
before in the consumer's database. Of a record that blocks nothing: its inbox row and what is owed for it (one
transaction), its letter, the debt paid. With ``on_dead_letter = "block"``, of the record that failed: its
inbox row and the key's row (one transaction), its letter, the letter's offset. Of one that follows: its
letter, then its inbox row and the letter's offset (one transaction). So a letter may be doubled, which its
replay sees; none is lost, and no event is both applied and given up. Without a database there is the letter
alone. docs/decisions/0022 has the reasons.

Not here: how the letters come back (``process.py``), and the sending itself (``deadletters.py``).
"""

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeVar

import structlog
from aiokafka import ConsumerRecord

from dingbridge.events.event import Event
from dingbridge.worker import blocked
from dingbridge.worker.blocked import Blocked
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.delivery import Delivery, identity
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable
from dingbridge.worker.store import inbox
from dingbridge.worker.store import outbox as owed
from dingbridge.worker.store.database import ANSWER_TIMEOUT_S, Database
from dingbridge.worker.store.errors import answered
from dingbridge.worker.store.outbox import Owed
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)
T = TypeVar("T")

Buried = Literal["dead", "blocked", "replay_failed", "seen", "again"]
"""``dead``: a letter of its own reason. ``blocked``: it followed another into the dead letters.
``replay_failed``: its letter is there already, and stays the next to be replayed. ``seen``: somebody had
settled it. ``again``: its key was freed meanwhile, so that it is to be handled."""

RACES = 10
"""Transactions that the database rolls back because of others, in a row, before we wait."""


class Sink(Protocol):
    """Where dead letters go. ``send`` returns the letter's offset; it raises ``DependencyUnavailable`` when
    they are not taken."""

    def send(
        self, record: ConsumerRecord, error: str, attempts: int, blocking_id: str = ""
    ) -> Awaitable[int]: ...


class Burials:
    """Gives up the records of one consumer. ``database`` is None for a consumer that uses none."""

    def __init__(self, consumer: Consumer, database: Database | None, sink: Sink) -> None:
        self._name, self._database, self._sink = consumer.name, database, sink
        self._blocks = consumer.on_dead_letter == "block"
        # another process may be at the same record; the server ends its transaction if it is frozen
        self._step_within_s = consumer.handler_timeout_s + ANSWER_TIMEOUT_S

    async def bury(
        self,
        record: ConsumerRecord,
        event: Event | None,
        delivery: Delivery,
        reason: str,
        attempts: int,
        block: Blocked | None,
    ) -> Buried:
        """Give ``record`` up for ``reason`` (type and place of an error), or because its key is blocked by
        ``block``. Raises ``DependencyUnavailable`` when Kafka or the database does not take it: call it
        again."""
        database, key = self._database, delivery.key
        if database is not None and delivery.letter is not None and key is not None:
            return await self._letter_failed(database, key, delivery.replay_id, reason, attempts)
        if database is None:
            await self._sink.send(record, reason, attempts)
            return "dead"
        known_as = identity(record, event)
        if key is None or not self._blocks:
            return await self._alone(database, record, known_as, delivery, Owed(reason, attempts))
        if block is None:
            found = await self._begin(database, known_as, key, delivery, reason, attempts)
            if found is None:
                return "seen"
            block = found
        if block.place == delivery.position:
            return await self._first(database, record, block)
        return await self._follower(database, record, known_as, delivery, block)

    async def _alone(
        self,
        database: Database,
        record: ConsumerRecord,
        known_as: inbox.EventId,
        delivery: Delivery,
        fresh: Owed,
    ) -> Buried:
        async def give_up(tx: Transaction) -> Owed | None:
            if not await inbox.enter(tx, self._name, known_as, delivery.replay_id):
                return await owed.find(tx, self._name, delivery.position)
            if delivery.replay_id:  # entered, so that nobody applies it meanwhile
                await inbox.withdraw(tx, self._name, known_as, delivery.replay_id)
                if not await inbox.enter(tx, self._name, known_as, delivery.given_up_as):
                    return await owed.find(tx, self._name, delivery.position)
            await owed.owe(tx, self._name, delivery.position, fresh)
            return fresh

        async def pay(tx: Transaction) -> None:
            await owed.paid(tx, self._name, delivery.position)

        debt = await self._in_transaction(database, give_up)
        if debt is None:
            return "seen"
        await self._sink.send(record, debt.reason, debt.attempts)
        await self._in_transaction(database, pay)
        return "dead"

    async def _begin(
        self,
        database: Database,
        known_as: inbox.EventId,
        key: bytes,
        delivery: Delivery,
        reason: str,
        attempts: int,
    ) -> Blocked | None:
        """Block ``key`` by this record, or find what it is blocked by; None when the record was settled."""

        async def step(tx: Transaction) -> Blocked | None:
            if not await inbox.enter(tx, self._name, known_as, delivery.replay_id):
                row = await blocked.find(tx, self._name, key)
                mine = row is not None and row.place == delivery.position and row.last_letter is None
                return row if mine else None
            row = await blocked.block(tx, self._name, key, delivery.position, reason, attempts)
            if row is None:
                raise _Follows
            log.error("consumer.key_blocked", consumer=self._name, blocking_id=row.blocking_id, error=reason)
            return row

        while True:
            try:
                return await self._in_transaction(database, step)
            except _Follows:
                row = await blocked.find(database.reader(ANSWER_TIMEOUT_S), self._name, key)
                if row is not None:
                    return row  # else it was freed between the two looks: it is ours to block

    async def _first(self, database: Database, record: ConsumerRecord, block: Blocked) -> Buried:
        offset = await self._sink.send(record, block.reason, block.attempts, block.blocking_id)

        async def step(tx: Transaction) -> None:
            await blocked.add_letter(tx, self._name, block, offset)

        await self._in_transaction(database, step)
        return "dead"

    async def _follower(
        self,
        database: Database,
        record: ConsumerRecord,
        known_as: inbox.EventId,
        delivery: Delivery,
        block: Blocked,
    ) -> Buried:
        reason = f"blocked by {block.topic}/{block.partition}/{block.offset}"
        offset = await self._sink.send(record, reason, 0, block.blocking_id)

        async def step(tx: Transaction) -> Buried:
            if not await blocked.add_letter(tx, self._name, block, offset):
                return "again"
            if not await inbox.enter(tx, self._name, known_as, delivery.replay_id):
                raise _Settled
            return "blocked"

        try:
            return await self._in_transaction(database, step)
        except _Settled:
            return "seen"

    async def _letter_failed(
        self, database: Database, key: bytes, replay_id: str, reason: str, attempts: int
    ) -> Buried:
        async def step(tx: Transaction) -> bool:
            return await blocked.replay_failed(tx, self._name, key, replay_id, reason, attempts)

        return "replay_failed" if await self._in_transaction(database, step) else "seen"

    async def _in_transaction(self, database: Database, step: Callable[[Transaction], Awaitable[T]]) -> T:
        for _ in range(RACES):
            try:
                async with database.transaction() as tx, answered(self._step_within_s):
                    return await step(tx)
            except Conflict:
                continue
        raise DependencyUnavailable("the database rolls back again and again because of other transactions")


class _Follows(Exception):
    """The key is blocked already."""


class _Settled(Exception):
    """The record was settled by another process."""
