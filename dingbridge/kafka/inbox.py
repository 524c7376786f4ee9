"""Sends a few records by a producer of their own, such as one into a consumer's inbox, to which that consumer
alone subscribes."""

from collections.abc import Iterable

from dingbridge.events.control import ControlRecord
from dingbridge.events.envelope import Record
from dingbridge.kafka.admin import explaining
from dingbridge.kafka.client import discard_producer, producer, start_producer
from dingbridge.kafka.topic_policy import inbox_topic
from dingbridge.settings import KafkaSettings

STOP_S = 5


async def send_records(
    settings: KafkaSettings, records: Iterable[tuple[str, Record | ControlRecord]]
) -> None:
    """Send ``records``, each with its topic, one after the other; returns when Kafka has them all. Raises
    ``KafkaUnavailable``."""
    sender = producer(settings)
    await start_producer(sender, settings)
    try:
        with explaining(settings):
            for topic, record in records:
                headers = list(record.headers)
                await sender.send_and_wait(topic, key=record.key, value=record.value, headers=headers)
    finally:
        await discard_producer(sender, STOP_S)


async def write_to_inbox(settings: KafkaSettings, consumer: str, record: ControlRecord) -> None:
    """Send ``record`` and wait until Kafka has it. Raises ``KafkaUnavailable``.

    The topic is the consumer's to make, with as many partitions as its others.
    """
    await send_records(settings, [(inbox_topic(settings, consumer), record)])
