"""A third-party suite's latest ticket, read from the topic where its ``suite_ticket`` events are.

The topic keeps them far longer than a ticket lives (5 h), so there is no other place. A ticket is in no
log and no error.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from dingbridge.dingtalk.errors import TicketMissing, Unavailable
from dingbridge.dingtalk.suite import API
from dingbridge.errors import KafkaUnavailable
from dingbridge.events import NotAnEvent, decode
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings

EVENT_TYPE: Final = "suite_ticket"
REMEMBERED_S: Final = 60.0
"""How long the topic is not read again, in s: many companies' tokens are asked for at a start."""


class SuiteTickets:
    """The tickets of ``app`` (its name), as ``dingbridge.dingtalk.suite.Tickets``. ``clock`` is s,
    monotonic."""

    def __init__(
        self, settings: KafkaSettings, app: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._app, self._clock = settings, app, clock
        self._lock = asyncio.Lock()
        self._ticket: str | None = None
        self._read_at = 0.0

    async def latest(self, *, refused: str | None = None) -> str:
        """Of those that the topic holds, the one whose event has the latest time."""
        async with self._lock:
            known = self._ticket is not None and self._ticket != refused
            if not known or self._clock() - self._read_at > REMEMBERED_S:
                self._ticket = await self._look()
                self._read_at = self._clock()
            if self._ticket is None:
                raise self._missing()
            return self._ticket

    def _missing(self) -> TicketMissing:
        topic = event_topic(self._settings, EVENT_TYPE)
        return TicketMissing(
            f"DingTalk {API}: not called; no suite_ticket has come yet for the app {self._app} (or this "
            f"consumer has no right READ on {topic}). DingTalk pushes one about every 5 h; calls begin by "
            "themselves when it is there.",
            api=API,
        )

    async def _look(self) -> str | None:
        topic = event_topic(self._settings, EVENT_TYPE)
        latest: tuple[datetime, str] | None = None
        try:
            partitions = (await existing_topics(self._settings, [topic])).get(topic)
            if partitions is None:
                return None
            async with TopicReader(self._settings) as reader:
                async for record in reader.read(await reader.spans({topic: partitions})):
                    found = _ticket(record.value, self._app)
                    if found is not None and (latest is None or found[0] >= latest[0]):
                        latest = found
        except KafkaUnavailable as error:
            raise Unavailable(
                f"DingTalk {API}: not called, for want of its ticket. {error}", api=API
            ) from error
        return None if latest is None else latest[1]


def _ticket(value: bytes, app: str) -> tuple[datetime, str] | None:
    """Time and ticket of a record, if it is one of this app."""
    try:
        event = decode(value)
    except NotAnEvent:
        return None
    ticket = event.data.get("suiteTicket")
    if event.app != app or not isinstance(ticket, str) or not ticket:
        return None
    return event.time, ticket
