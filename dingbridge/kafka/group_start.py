"""Where a consumer group begins that has never read: at the end of its topics, if it asks for that.

Kafka's own ``auto.offset.reset=latest`` would skip more than that: the records between a crash and the first
commit, those of a partition that is added later, and, in an inbox, what was replayed before the first start.
So the group's members read with ``earliest``, and the place to begin at is committed before the first one
joins.
"""

from collections.abc import Mapping
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError

from dingbridge.kafka.admin import explaining
from dingbridge.kafka.client import connection, discard_consumer
from dingbridge.settings import KafkaSettings

log = structlog.get_logger(__name__)


async def begin_at_end(settings: KafkaSettings, group: str, topics: Mapping[str, int]) -> None:
    """Commit the ends of ``topics`` (name → partition count) for ``group``, unless it has an offset in one of
    them, or members. Raises ``KafkaUnavailable``."""
    partitions = [TopicPartition(name, number) for name, count in topics.items() for number in range(count)]
    kafka = AIOKafkaConsumer(
        **connection(settings),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        isolation_level="read_committed",  # what a transaction that is open now commits is still to come
    )
    try:
        # another member's first start may be a moment earlier, and do this
        with explaining(settings), suppress(CommitFailedError):
            await kafka.start()
            kafka.assign(partitions)
            for partition in partitions:
                if await kafka.committed(partition) is not None:
                    return
            ends = await kafka.end_offsets(partitions)
            await kafka.commit(ends)
            log.info("consumer.begins_at_end", consumer=group, topics=sorted(topics))
    finally:
        await discard_consumer(kafka)
