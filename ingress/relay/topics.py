"""The topic of each record, and that it exists before the first send.

EventTypes that the catalogue does not have get topics of their own, up to a limit: names from outside must
not create topics without bounds. Beyond the limit, their records go to the unclassified topic as they are.
Which topics exist is read from Kafka, so that the limit holds across restarts.
"""

from dingbridge.errors import TopicLeaderless
from dingbridge.events import Record, known
from dingbridge.ingress.relay.records import RESYNC
from dingbridge.kafka.topic_policy import RESYNC as RESYNC_TOPIC
from dingbridge.kafka.topic_policy import control_topic, event_topic, unclassified_topic
from dingbridge.kafka.topics import ensure_topics, listed_topics, unled_words
from dingbridge.settings import KafkaSettings

_WITHIN_S = 2.0
"""How long everything waits for a topic to be made; after that, only its own records do: they are parked."""


class TopicRouter:
    """Chooses topics by the settings, and creates those that are missing."""

    def __init__(self, settings: KafkaSettings, unknown_topics_max: int) -> None:
        self._settings, self._unknown_max = settings, unknown_topics_max
        self.partitions: dict[str, int] = {}
        """How many each topic has that exists, and whose partitions all have a leader."""
        self._leaderless: set[tuple[str, int]] = set()
        self._unknown: set[str] = set()
        self._settled: dict[str | None, str] = {}  # EventTypes whose topic is sure

    async def load(self) -> None:
        """Ask Kafka which topics there are. Raises ``KafkaUnavailable``."""
        self.partitions, self._leaderless = await listed_topics(self._settings)
        there = self.partitions.keys() | {topic for topic, _ in self._leaderless}
        self._unknown = set(filter(self._counts_as_unknown, there))
        self._settled = {
            None: unclassified_topic(self._settings),
            RESYNC: control_topic(self._settings, RESYNC_TOPIC),
        }

    def topic(self, record: Record) -> str:
        """The topic of ``record``."""
        settled = self._settled.get(record.event_type)
        if settled is not None:
            return settled
        topic = event_topic(self._settings, record.event_type or "")
        if record.known or topic in self._unknown:
            self._settled[record.event_type] = topic
            return topic
        return topic if len(self._unknown) < self._unknown_max else unclassified_topic(self._settings)

    async def ensure(self, topic: str) -> int:
        """Create ``topic`` if it was missing when ``load`` asked, and wait until it is there, some seconds at
        most. Returns how many partitions it has. Raises ``KafkaUnavailable`` or ``TopicError``."""
        if topic in self.partitions:
            return self.partitions[topic]
        if leaderless := [place for place in self._leaderless if place[0] == topic]:
            raise TopicLeaderless(unled_words(leaderless))  # not waited for: all other topics would wait, too
        self.partitions |= await ensure_topics(self._settings, [topic], timeout_s=_WITHIN_S)
        if self._counts_as_unknown(topic):
            self._unknown.add(topic)
        return self.partitions[topic]

    def _counts_as_unknown(self, topic: str) -> bool:
        prefix = self._settings.topic_prefix
        return (
            topic.startswith(prefix)
            and topic != unclassified_topic(self._settings)
            and not topic.startswith(self._settings.control_prefix)
            and not known(topic.removeprefix(prefix))
        )
