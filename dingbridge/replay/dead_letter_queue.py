"""The dead letters of one consumer: listing them, and sending them back into its inbox.

The topic is read once, from its end, since the note that settles a letter comes after it; settled letters are
not kept in memory. Letters that are sent are copied, acknowledged, and then noted as settled
(``dead_letters.py``). A run that ends in between does no harm: the copies are sent again under the same ids.
"""

import heapq
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from aiokafka import TopicPartition

from dingbridge.errors import BridgeError, TopicError
from dingbridge.kafka.reader import Span, Spans, TopicReader
from dingbridge.kafka.topic_policy import dlq_topic, inbox_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.copying import Copier, inbox_partitions, new_replay_id
from dingbridge.replay.dead_letter_groups import DeadLetterGroup
from dingbridge.replay.dead_letters import (
    NOTE_HEADER,
    SKIPPED,
    DeadLetter,
    DeadLetterFilter,
    Notes,
    is_note,
    note,
    read_dead_letter,
    replayed_as,
)
from dingbridge.settings import KafkaSettings

READ_AT_ONCE: Final = 2_000
"""Offsets of one partition that are in memory while it is read from its end."""
NOTED_AT_ONCE: Final = 1_000

Found = tuple[DeadLetter, str | None]
"""A dead letter and what settled it (None: it waits)."""


@dataclass(slots=True)
class Selection:
    """The dead letters that a command is about, the oldest first; ``settled``: how many match too, and are
    left out; ``more``: whether there are more than were asked for. ``run`` is what their notes will name."""

    run: str
    found: list[Found]
    settled: int = 0
    more: bool = False
    by_type: Counter[str] = field(default_factory=Counter)


class DeadLetterQueue:
    """``async with DeadLetterQueue(settings, "billing") as queue``; what is in the topic then is what it
    knows. Each method reads the topic once; what it keeps in memory is what it returns.

    Entering raises ``TopicError`` when the consumer has no dead-letter topic. Every method raises
    ``KafkaUnavailable``.
    """

    def __init__(self, settings: KafkaSettings, consumer: str) -> None:
        self._settings, self._consumer = settings, consumer
        self._stack = AsyncExitStack()
        self._topic = dlq_topic(settings, consumer)
        self._inbox = inbox_topic(settings, consumer)
        self._spans: dict[TopicPartition, Span] = {}

    async def __aenter__(self) -> Self:
        counts = await existing_topics(self._settings, [self._topic])
        if self._topic not in counts:
            raise TopicError(
                f"consumer {self._consumer} has no dead letters: there is no topic {self._topic}. It is made "
                "when the consumer first starts; `dingbridge topics list` shows those that exist"
            )
        async with AsyncExitStack() as stack:
            self._reader = await stack.enter_async_context(TopicReader(self._settings))
            self._spans = await self._reader.spans({self._topic: counts[self._topic]})
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def select(
        self, wanted: DeadLetterFilter, *, limit: int = 0, again: bool = False, skip: bool = False
    ) -> Selection:
        """The oldest ``limit`` (0: all) that match, settled ones only if ``again``."""
        selected = Selection(SKIPPED if skip else new_replay_id(), [])
        oldest: list[tuple[int, int, int, Found]] = []
        times: dict[int, int] = {}
        async with aclosing(self._from_the_end(self._spans)) as letters:
            async for found, by in letters:
                if not wanted.admits(found):
                    continue
                if by is not None and not again:
                    selected.settled += 1
                    continue
                record = found.record
                # those of one partition stay in their order, also where their timestamps do not
                at = times[record.partition] = min(
                    record.timestamp, times.get(record.partition, record.timestamp)
                )
                heapq.heappush(oldest, (-at, -record.partition, -record.offset, (found, by)))
                if limit and len(oldest) > limit:
                    heapq.heappop(oldest)
                    selected.more = True
        selected.found = [item[-1] for item in sorted(oldest, key=lambda item: item[:3], reverse=True)]
        selected.by_type.update(found.event_type for found, _ in selected.found)
        return selected

    async def groups(self, wanted: DeadLetterFilter) -> list[DeadLetterGroup]:
        """Those that match and wait, counted by error and EventType; the largest group first."""
        groups: dict[tuple[str, str], DeadLetterGroup] = {}
        async with aclosing(self._from_the_end(self._spans)) as letters:
            async for found, by in letters:
                if by is None and wanted.admits(found):
                    name = (found.error, found.event_type)
                    groups.setdefault(name, DeadLetterGroup(*name)).add(found.at, found.reason)
        return sorted(groups.values(), key=lambda group: (-group.count, group.error, group.event_type))

    async def find(self, partition: int, offset: int) -> Found:
        """The dead letter at this place. Raises ``BridgeError`` when there is none."""
        place = TopicPartition(self._topic, partition)
        span = self._spans.get(place, Span(0, 0))
        if span.begin <= offset < span.end:
            async with aclosing(self._from_the_end({place: Span(offset, span.end)})) as letters:
                async for found, by in letters:
                    if found.record.offset == offset:
                        return found, by
        raise BridgeError(
            f"there is no dead letter {partition}/{offset} of {self._consumer}; "
            f"`dingbridge dlq list {self._consumer}` prints their places"
        )

    async def replay(self, selected: Selection, on_sent: Callable[[int], None]) -> None:
        """Send what was selected; ``on_sent`` gets the number of each batch that was acknowledged."""
        partitions = await inbox_partitions(self._settings, self._consumer, [self._topic])
        sent: set[str] = set()
        begin = 0
        async with Copier(self._settings, self._inbox, partitions) as copier:
            for number, (found, by) in enumerate(selected.found, 1):
                if (replay_id := replayed_as(found, by)) not in sent:  # else a double
                    sent.add(replay_id)
                    await copier.add(found.record, replay_id)
                if copier.full or number - begin >= NOTED_AT_ONCE or number == len(selected.found):
                    # noted only once acknowledged: a letter that is noted is not offered again
                    await copier.flush()
                    await self._note(copier, selected.run, selected.found[begin:number])
                    on_sent(number - begin)
                    begin = number

    async def skip(self, selected: Selection, on_skipped: Callable[[int], None]) -> None:
        """Give up for good what was selected: it is not offered again. ``on_skipped`` gets the number of each
        batch that was noted."""
        async with Copier(self._settings, self._inbox, 1) as copier:
            for begin in range(0, len(selected.found), NOTED_AT_ONCE):
                batch = selected.found[begin : begin + NOTED_AT_ONCE]
                await self._note(copier, SKIPPED, batch)
                on_skipped(len(batch))

    async def _from_the_end(self, spans: Spans) -> AsyncGenerator[Found, None]:
        """All dead letters, of each partition the newest first."""
        for partition, span in spans.items():
            notes, end = Notes(), span.end
            while end > span.begin:
                begin = max(span.begin, end - READ_AT_ONCE)
                async with aclosing(self._reader.read({partition: Span(begin, end)})) as records:
                    chunk = [record async for record in records]
                for record in reversed(chunk):
                    if is_note(record):
                        notes.add(record)
                    else:
                        yield read_dead_letter(record), notes.by(record.offset)
                end = begin

    async def _note(self, copier: Copier, run: str, batch: Sequence[Found]) -> None:
        offsets: dict[int, list[int]] = {}
        for found, _ in batch:
            offsets.setdefault(found.record.partition, []).append(found.record.offset)
        for partition, listed in offsets.items():
            await copier.write(self._topic, partition, note(listed), [(NOTE_HEADER, run.encode())])
        await copier.flush()
