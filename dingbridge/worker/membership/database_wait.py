"""Waits for a database that is down, within the membership. To leave the group and join it again would make
every member settle anew, at each try."""

import time
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from dingbridge.retry import delay

log = structlog.get_logger(__name__)

NO_PARTITION: Final = TopicPartition("", 0)
"""Asks aiokafka for records of no partition; without any name it would return those of all. It must be asked
even while nothing is fetched, for hours perhaps: else it leaves the group as idle."""


ASK_MAX_S: Final = 5
"""The longest wait between two questions, in s. Each costs the database one connection."""


class DatabaseWait:
    """Whether one member waits for its database."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer
        self._reason = ""
        self._failures = 0
        self._since = 0.0

    async def wait(self, kafka: AIOKafkaConsumer, reason: str) -> None:
        """Wait before the database is asked again, longer each time until ``end``; nothing is fetched."""
        if not self._failures:
            self._since = time.monotonic()
        self._failures += 1
        self._reason = reason
        wait_s = delay(self._failures, max_s=ASK_MAX_S)
        log.warning("consumer.waiting", consumer=self._consumer, reason=reason, retry_in_s=round(wait_s, 1))
        await kafka.getmany(NO_PARTITION, timeout_ms=int(wait_s * 1000))

    def end(self) -> None:
        """The database has answered."""
        self._failures = 0

    def down(self) -> dict[str, str]:
        """Return the reason, by the name of the dependency; nothing while the database is not waited for."""
        return {"database": self._reason} if self._failures else {}

    def for_s(self) -> float:
        """Return for how long the database has been waited for, in s; 0 if it is not."""
        return time.monotonic() - self._since if self._failures else 0.0
