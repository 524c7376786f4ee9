"""Tries what is parked again, beside the publishing and with a producer of its own.

A topic is blocked while callbacks are parked for a reason about the topic as a whole. New callbacks are
parked behind the old ones, so that the order stays. To try a topic, the first of them is sent: publishing
never waits for a topic that takes nothing. Then pages of them follow, in turn with what is new, until none is
left.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from itertools import chain
from typing import Final

from aiokafka.errors import KafkaError

from dingbridge.errors import KafkaUnavailable
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.rows import Acknowledgement, Parked, StoredCallback
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.relay.batches import BatchSet, BatchSetBuilder
from dingbridge.ingress.relay.reading import JournalReader, parked_callbacks
from dingbridge.ingress.relay.sender import BLOCKING, BY_HAND, Refusal, Sender

PAGE: Final = 500
"""How many parked callbacks of a topic are sent at once, when the first of them was taken."""
_LOOK_EVERY_S: Final = 0.5

Page = list[tuple[Parked, StoredCallback]]


class ParkedCallbacks:
    """Those of ``journal``: call ``run``, and ``retry`` when an operator asks.

    ``between_sets``: while it is open, nothing else is sent, all that was sent is answered, and all that was
    parked is in the file."""

    def __init__(
        self,
        journal: Journal,
        builder: BatchSetBuilder,
        sender: Sender,
        between_sets: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._journal, self._builder, self._sender = journal, builder, sender
        self._blocked, self._between_sets = builder.blocked, between_sets
        self._reader = JournalReader(current(journal.root))
        self._by_hand: int | None = None
        """An operator asks: what is tried by hand alone is tried once, behind this ``seq``."""
        self._asked = asyncio.Event()
        self._trying = False

    def retry(self) -> None:
        """Try all of it at once, also what was refused for itself."""
        self._by_hand = 0
        self._blocked.ask()
        self._asked.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is to be tried just now."""
        return not self._trying and self._by_hand is None and not self._blocked.due()

    async def run(self) -> None:
        """Until cancelled. Raises as ``JournalReader``."""
        try:
            while True:
                self._trying = True
                try:
                    await self._try_topics(self._blocked.due())
                    await self._try_by_hand()
                except (KafkaError, KafkaUnavailable, JournalUnavailable, TimeoutError):
                    # the publishing meets and reports it, too
                    await self._sender.discard(0.1)
                    for topic in self._blocked.due():
                        self._blocked.block(topic, self._blocked.reason(topic) or Refusal.NO_LEADER)
                self._trying = False
                await wait(self._asked, _LOOK_EVERY_S)
        finally:
            await self._sender.discard(0.1)
            self._reader.close()

    async def _try_topics(self, topics: Sequence[str]) -> None:
        if topics:
            self._builder.load(await self._sender.metadata())
            topics = await self._send_of(await self._pages(topics, 1))
        while topics:
            async with self._between_sets():
                pages = await self._pages(topics, PAGE)
                for topic in [one for one, page in pages.items() if not page]:
                    self._blocked.unblock(topic)
                    del pages[topic]
                topics = await self._send_of(pages)

    async def _try_by_hand(self) -> None:
        while self._by_hand is not None:
            page = await self._page(None, BY_HAND, self._by_hand, PAGE)
            self._by_hand = (await self._send(page)).last if page else None

    async def _pages(self, topics: Iterable[str], limit: int) -> dict[str, Page]:
        return {topic: await self._page(topic, BLOCKING, 0, limit) for topic in topics}

    async def _page(self, topic: str | None, reasons: Iterable[str], after_seq: int, limit: int) -> Page:
        return await self._reader.read(
            partial(parked_callbacks, topic=topic, reasons=reasons, after_seq=after_seq, limit=limit)
        )

    async def _send_of(self, pages: Mapping[str, Page]) -> list[str]:
        """Send what one batch set takes of ``pages``, by topic. Returns the topics that are not refused."""
        batches = await self._send([*chain.from_iterable(pages.values())])
        return [topic for topic in pages if topic not in batches.refused]

    async def _send(self, page: Page) -> BatchSet:
        """Send what one batch set takes of ``page``, and note in the journal what was sent. Returns the
        set."""
        batches, tried = BatchSet(0), list[Parked]()
        for parked, row in page:
            if batches.full:
                break
            await self._builder.add(batches, row, parked.topic)
            tried.append(parked)
            batches.last = row.seq
        batches.refuse(await self._sender.send(batches.records))
        sent = [one for one in tried if (one.seq, one.topic) not in batches.parked]
        if tried:
            await self._journal.acknowledge(Acknowledgement(None, [*batches.parked.values()], sent))
        for topic, reason in batches.refused.items():
            self._blocked.block(topic, reason)
        return batches


async def wait(event: asyncio.Event, most_s: float) -> None:
    """Wait for ``event``, ``most_s`` at most, and clear it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await event.wait()
    event.clear()
