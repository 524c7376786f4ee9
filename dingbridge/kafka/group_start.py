"""Where a consumer group begins that has never read.

At the end of the topic of resync requests: what was lost before the group began is nothing to it. At the end
of all its topics, if it asks for that.

Kafka's own ``auto.offset.reset=latest`` would skip more than that: the records between a crash and the first
commit, those of a partition that is added later, and, in an inbox, what was replayed before the first start.
So the group's members read with ``earliest``, and the place to begin at is committed before the first one
joins.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError

from dingbridge.kafka.admin import explaining
from dingbridge.kafka.client import connection, discard_consumer
from dingbridge.kafka.group_offsets import committed_offsets
from dingbridge.kafka.topic_policy import RESYNC, control_topic
from dingbridge.settings import KafkaSettings

log = structlog.get_logger(__name__)


async def begin_at_end(
    settings: KafkaSettings, group: str, topics: Mapping[str, int], new_only: Collection[str]
) -> None:
    """Commit for ``group`` the ends of the topics ``new_only``, and of the topic of resync requests.

    ``topics`` (name → partition count) are all that it reads. Does nothing if the group has an offset in one
    of them, or members. Raises ``KafkaUnavailable``.
    """
    partitions = [TopicPartition(name, number) for name, count in topics.items() for number in range(count)]
    begins = {*new_only, control_topic(settings, RESYNC)}
    at_end = [partition for partition in partitions if partition.topic in begins]
    if not at_end or await committed_offsets(settings, group, partitions):
        return
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
            kafka.assign(at_end)
            await kafka.commit(await kafka.end_offsets(at_end))
            log.info("consumer.begins_at_end", consumer=group, topics=sorted({one.topic for one in at_end}))
    finally:
        await discard_consumer(kafka)
