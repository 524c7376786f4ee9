"""Goes past records that aiokafka cannot decode.

Kafka keeps a header's name as any bytes, aiokafka demands UTF-8, and gives up a whole ``getmany`` for one
that is none: with the records of other partitions, and as often as it is asked.
"""

import time

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

log = structlog.get_logger(__name__)


def stand_in(partition: TopicPartition, offset: int) -> ConsumerRecord:
    """For the record there, of which only its place is known."""
    now_ms = int(time.time() * 1000)
    return ConsumerRecord(
        partition.topic, partition.partition, offset, now_ms, 0, None, None, None, -1, -1, headers=()
    )


async def fetch_past(
    kafka: AIOKafkaConsumer, partition: TopicPartition, begin: int, most: int
) -> list[ConsumerRecord]:
    """After ``getmany`` has raised ``UnicodeDecodeError``: the records from ``begin`` on, at most ``most``,
    up to one that cannot be decoded; the next fetch begins behind that."""
    found: list[ConsumerRecord] = []
    kafka.seek(partition, begin)
    while len(found) < most:
        try:
            one = (await kafka.getmany(partition, timeout_ms=500, max_records=1)).get(partition)
        except UnicodeDecodeError:
            offset = await kafka.position(partition)
            log.warning(
                "kafka.undecodable", topic=partition.topic, partition=partition.partition, offset=offset
            )
            kafka.seek(partition, offset + 1)
            break
        if not one:
            break
        found += one
    return found
