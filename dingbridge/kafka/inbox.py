"""Writes one record into a consumer's inbox, to which that consumer alone subscribes."""

from dingbridge.events.control import ControlRecord
from dingbridge.kafka.admin import explaining
from dingbridge.kafka.client import discard_producer, producer, start_producer
from dingbridge.kafka.topics import inbox_topic
from dingbridge.settings import KafkaSettings

STOP_S = 5


async def write_to_inbox(settings: KafkaSettings, consumer: str, record: ControlRecord) -> None:
    """Send ``record`` and wait until Kafka has it. Raises ``KafkaUnavailable``.

    For a record now and then: each call has a producer of its own. The topic is the consumer's to make, with
    as many partitions as its others.
    """
    topic = inbox_topic(settings, consumer)
    sender = producer(settings)
    await start_producer(sender, settings)
    try:
        with explaining(settings):
            headers = list(record.headers)
            await sender.send_and_wait(topic, key=record.key, value=record.value, headers=headers)
    finally:
        await discard_producer(sender, STOP_S)
