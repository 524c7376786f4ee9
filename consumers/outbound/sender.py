"""Sends what ``outbound_outgoing`` holds, in its order, and deletes what Kafka has acknowledged.

A process that dies between the two sends it again: the same records with the same ids. Of several processes
one sends at a time.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from sqlalchemy import Row, delete, select

from dingbridge import Database, DependencyUnavailable, Reader, Transaction
from dingbridge.consumers.outbound.messages import Outgoing
from dingbridge.consumers.outbound.tables import outbound_outgoing, outbound_state
from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import discard_producer, explain, hopeless_after_s, producer, start_producer
from dingbridge.kafka.topic_policy import control_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings

TOPICS = ("outbound-results", "changes")
AT_ONCE = 500
POLL_EVERY_S = 0.5
STOP_S = 1.0
NAME = "sender"


class Sender:
    """The sending half of one process."""

    def __init__(self, database: Database, settings: KafkaSettings) -> None:
        self._database, self._settings = database, settings

    async def run(self) -> None:
        """Send until cancelled. Raises ``DependencyUnavailable`` when Kafka or the database does not work."""
        async with self._database.transaction() as tx:
            await tx.execute(tx.insert(outbound_state).values(name=NAME).on_conflict_do_nothing())
        try:
            await ensure_topics(self._settings, [control_topic(self._settings, name) for name in TOPICS])
            sender = producer(self._settings)
            await start_producer(sender, self._settings)
            try:
                while True:
                    if not await self.once(sender):
                        await asyncio.sleep(POLL_EVERY_S)
            finally:
                await discard_producer(sender, STOP_S)
        except KafkaUnavailable as error:
            raise DependencyUnavailable(str(error)) from error

    async def once(self, sender: AIOKafkaProducer) -> int:
        """Send what is there, and return how many records that were."""
        rows = await self._waiting(self._database.reader())
        if not rows:
            return 0
        if self._database.dialect == "sqlite":  # which is one process's
            await self._send(sender, rows)
            async with self._database.transaction() as tx:
                await _delete(tx, rows)
            return len(rows)
        async with self._database.transaction() as tx:
            # this lock is held while Kafka is asked: it ends with the process, however that ends
            turn = select(outbound_state).where(outbound_state.c.name == NAME)
            if (await tx.execute(turn.with_for_update(skip_locked=True))).one_or_none() is None:
                return 0
            rows = await self._waiting(tx)
            await self._send(sender, rows)
            await _delete(tx, rows)
        return len(rows)

    async def _waiting(self, db: Reader | Transaction) -> Sequence[Row[Any]]:
        statement = select(outbound_outgoing).order_by(outbound_outgoing.c.seq).limit(AT_ONCE)
        return (await db.execute(statement)).all()

    async def _send(self, sender: AIOKafkaProducer, rows: Sequence[Row[Any]]) -> None:
        try:
            async with asyncio.timeout(hopeless_after_s(self._settings)):
                sent = []
                for row in rows:
                    key, value, headers = Outgoing(row.topic, row.key, row.value.encode()).record()
                    topic = control_topic(self._settings, row.topic)
                    sent.append(await sender.send(topic, key=key, value=value, headers=list(headers)))
                await asyncio.gather(*sent)
        except (KafkaError, OSError, TimeoutError) as error:
            raise KafkaUnavailable(explain(error, self._settings)) from error


async def _delete(tx: Transaction, rows: Sequence[Row[Any]]) -> None:
    await tx.execute(delete(outbound_outgoing).where(outbound_outgoing.c.seq.in_([row.seq for row in rows])))
