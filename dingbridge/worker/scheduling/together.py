"""Which waiting records are handled together: neighbours in a key queue whose events share a fetch."""

from collections.abc import Collection, Hashable, Iterator
from functools import partial
from itertools import islice
from typing import cast

from aiokafka import ConsumerRecord

from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.event import Event, NotAnEvent, Sent, decode
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.dead_letters import IN_PLACE
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.queues.offset_tracker import QueuedRecord

MOST_TOGETHER = 500
"""Events that are handled together, at most: their inbox rows are written in one transaction."""


class Together:
    """Decodes records of one consumer and finds those that share a fetch. Programs other than the
    bridge write to ``foreign_topics``."""

    def __init__(self, consumer: Consumer, foreign_topics: Collection[str]) -> None:
        self._consumer, self._foreign_topics = consumer, frozenset(foreign_topics)
        self.shares = type(consumer).fetches is not Consumer.fetches

    def decode(self, queued: QueuedRecord) -> Exception | None:
        """Fill in event and delivery of ``queued``. Returns what makes it unreadable, whatever that is."""
        if queued.event is not None:
            return None
        record = cast(ConsumerRecord, queued.record)
        if queued.delivery is None:
            queued.delivery = Delivery.of(record)
        try:
            if IN_PLACE in record.headers:
                raise NotAnEvent("its dead letter has no value: that is only at its first place in Kafka")
            if record.value is None:
                raise NotAnEvent("the record has no value")
            foreign = record.topic in self._foreign_topics
            sent = Sent(record.key, record.timestamp) if foreign else None
            queued.delivery.again = partial(decode, record.value, sent)
            queued.event = queued.delivery.again()
        except Exception as error:
            return error
        return None

    def first_of(self, queue: Iterator[QueuedRecord]) -> list[QueuedRecord]:
        """The first record of ``queue``, and those right behind it whose events share its fetch; those that
        the inbox table knows are passed over."""
        head = next(queue)
        shared = self._fetch_of(head)
        found = [head]
        if shared is None:
            return found
        for queued in islice(queue, MOST_TOGETHER - 1):
            if queued.known:
                continue
            if self._fetch_of(queued) != shared:
                break
            found.append(queued)
        return found

    def _fetch_of(self, queued: QueuedRecord) -> Hashable | None:
        """What is fetched for ``queued``; None for one that is handled alone."""
        if queued.alone or queued.careful or queued.failure or self.decode(queued) is not None:
            return None
        event = cast(Event, queued.event)
        if event.type == RESYNC_REQUESTED:
            return None
        try:
            shared = self._consumer.fetches(event)
        except Exception:  # the handler's attempt reports what is wrong with such an event
            return None
        return None if shared is None else (event.app, event.corp_id, shared)
