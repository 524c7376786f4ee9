"""The topics of one consumer: which it reads, and that they are there before it does."""

import structlog

from dingbridge.kafka.group_start import begin_at_end
from dingbridge.kafka.topic_policy import dlq_topic, foreign_topics, inbox_topic, topics_read
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.consumer import Consumer

log = structlog.get_logger(__name__)


class ConsumerTopics:
    """``inbox`` is the consumer's own, for replays; ``foreign`` are those to which programs other than the
    bridge write; ``all`` of what it reads."""

    def __init__(self, settings: ConsumerSettings, consumer: Consumer) -> None:
        self._settings, self._consumer = settings, consumer
        self._events = topics_read(settings, consumer.topics, consumer.control_topics)
        self.inbox = inbox_topic(settings, consumer.name)
        self.all = [*self._events, self.inbox]
        # replayed, a foreign record comes by the inbox
        self.foreign = topics_read(settings, (), foreign_topics(consumer.control_topics))
        self.foreign += [self.inbox] if self.foreign else []

    async def ensure(self) -> bool:
        """Make what is missing of them, the dead letters, and what the consumer writes to; a new group begins
        where it is to. Returns whether all that it reads has equal numbers of partitions.

        Raises ``KafkaUnavailable``, ``TopicError``.
        """
        name = self._consumer.name
        counts = await ensure_topics(self._settings, self._events)
        partitions = {self.inbox: max(counts.values())}
        counts |= await ensure_topics(self._settings, [self.inbox], partitions=partitions)
        written = topics_read(self._settings, (), self._consumer.control_topics_written)
        await ensure_topics(self._settings, [dlq_topic(self._settings, name), *written])
        new_only = self._events if self._consumer.auto_offset_reset == "latest" else ()
        await begin_at_end(self._settings, name, counts, new_only)
        aligned = len(set(counts.values())) == 1
        if not aligned:
            log.warning(
                "consumer.key_queues_not_aligned",
                consumer=name,
                partitions=counts,
                meaning="order per key holds within each topic, not across these topics",
            )
        return aligned
