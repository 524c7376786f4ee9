"""Writes deliveries to ``<control>deliveries``."""

from dingbridge import DependencyUnavailable
from dingbridge.consumers.forward.deliveries import TOPIC, Delivery
from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.topic_policy import control_topic
from dingbridge.kafka.writer import RecordWriter
from dingbridge.settings import KafkaSettings

WITHIN_S = 45
"""How long Kafka may take for one record, in s: less than a handler may, or a silent Kafka would count as an
attempt of an event that was taken."""


class DeliveryLog:
    """The deliveries of one process."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = control_topic(settings, TOPIC)
        self._writer = RecordWriter(settings, WITHIN_S)

    async def write(self, delivery: Delivery, key: str) -> None:
        """All in-sync replicas have it then; ``key`` is the event's. Raises ``DependencyUnavailable``: write
        it again later, it may then stand there twice."""
        record = delivery.record(key)
        try:
            await self._writer.write(self._topic, record.key, record.value, record.headers)
        except KafkaUnavailable as problem:
            raise DependencyUnavailable(f"delivery not recorded: {problem}") from problem

    async def close(self) -> None:
        """Nothing is pending, since ``write`` waits."""
        await self._writer.close()
