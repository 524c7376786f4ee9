"""Which topic a record goes to, and that this topic exists before the first send.

EventTypes that nobody knew when this was released flow to topics of their own, up to a limit, since names
from outside must not mint topics without bounds; beyond it they go to the unclassified topic as they are.
"""

from dingbridge.events import Record, known
from dingbridge.kafka.topics import ensure_topics, event_topic, existing_topics, unclassified_topic
from dingbridge.settings import KafkaSettings


class TopicRouter:
    """Knows the topics that exist, from Kafka itself, so that the limit holds across restarts."""

    def __init__(self, settings: KafkaSettings, unknown_topics_max: int) -> None:
        self._settings, self._unknown_max = settings, unknown_topics_max
        self._existing: set[str] = set()
        self._unknown = 0
        self._settled: dict[str | None, str] = {}  # EventTypes whose topic is sure

    async def load(self) -> None:
        """Ask Kafka which topics there are. Raises ``KafkaUnavailable``."""
        prefix = self._settings.topic_prefix
        names = await existing_topics(self._settings)
        self._existing = {name for name in names if name.startswith(prefix)}
        self._settled.clear()
        self._unknown = sum(not known(name.removeprefix(prefix)) for name in self._existing)
        self._unknown -= unclassified_topic(self._settings) in self._existing

    def topic(self, record: Record) -> str:
        """The topic of ``record``."""
        settled = self._settled.get(record.event_type)
        if settled is not None:
            return settled
        if record.event_type is None:
            return unclassified_topic(self._settings)
        topic = event_topic(self._settings, record.event_type)
        if record.known or topic in self._existing:
            self._settled[record.event_type] = topic
            return topic
        return topic if self._unknown < self._unknown_max else unclassified_topic(self._settings)

    async def ensure(self, topic: str, within_s: float = 30) -> None:
        """Create ``topic`` if it is missing, and wait until it is there, ``within_s`` at most. Raises
        ``KafkaUnavailable`` or ``TopicError``."""
        if topic in self._existing:
            return
        await ensure_topics(self._settings, [topic], timeout_s=within_s)
        self._existing.add(topic)
        if topic != unclassified_topic(self._settings):
            self._unknown += not known(topic.removeprefix(self._settings.topic_prefix))

    def forget(self, topic: str) -> None:
        """``topic`` has been found missing: look again before the next send."""
        self._existing.discard(topic)
        self._settled.clear()
