"""Which topic a record goes to, and that this topic exists before the first send.

EventTypes that nobody knew when this was released flow to topics of their own, up to a limit, since names
from outside must not mint topics without bounds; beyond it they go to the unclassified topic as they are.
Inboxes of consumers are made by those who read them, never here.
"""

from dingbridge.errors import TopicError
from dingbridge.events import Record, known
from dingbridge.kafka.topics import ensure_topics, event_topic, existing_topics, unclassified_topic
from dingbridge.settings import KafkaSettings


class InboxMissing(TopicError):
    """No consumer of that name has ever run here."""


class TopicRouter:
    """Knows the topics that exist, from Kafka itself, so that the limit holds across restarts."""

    def __init__(self, settings: KafkaSettings, unknown_topics_max: int) -> None:
        self._settings, self._unknown_max = settings, unknown_topics_max
        self._existing: set[str] = set()
        self._unknown: set[str] = set()
        self._settled: dict[str | None, str] = {}  # EventTypes whose topic is sure

    async def load(self) -> None:
        """Ask Kafka which topics there are. Raises ``KafkaUnavailable``."""
        self._existing = set(await existing_topics(self._settings))
        self._unknown = set(filter(self._counts_as_unknown, self._existing))
        self._settled.clear()

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
        return topic if len(self._unknown) < self._unknown_max else unclassified_topic(self._settings)

    async def ensure(self, topic: str, within_s: float = 30, *, again: bool = False) -> None:
        """Create ``topic`` if it is missing, and wait until it is there, ``within_s`` at most. ``again``: ask
        Kafka also if it is known. Raises ``KafkaUnavailable`` or ``TopicError``; ``InboxMissing`` for an
        inbox that is not there."""
        if topic in self._existing and not again:
            return
        if topic.startswith(self._settings.control_prefix):
            if topic not in await existing_topics(self._settings, [topic]):
                raise InboxMissing(
                    f"topic {topic} is not there: start its consumer once, or take its name out of "
                    "RESYNC_CONSUMERS"
                )
        else:
            await ensure_topics(self._settings, [topic], timeout_s=within_s)
        self._existing.add(topic)
        if self._counts_as_unknown(topic):
            self._unknown.add(topic)

    def _counts_as_unknown(self, topic: str) -> bool:
        prefix = self._settings.topic_prefix
        return (
            topic.startswith(prefix)
            and topic != unclassified_topic(self._settings)
            and not topic.startswith(self._settings.control_prefix)
            and not known(topic.removeprefix(prefix))
        )
