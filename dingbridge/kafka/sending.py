"""Sends a few records by a producer of their own."""

from collections.abc import Iterable

from dingbridge.events.control import ControlRecord
from dingbridge.events.envelope import Record
from dingbridge.kafka.admin import explaining
from dingbridge.kafka.client import discard_producer, producer, start_producer
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
