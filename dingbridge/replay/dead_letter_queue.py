"""The dead letters of one consumer: listing them, and sending them back into its inbox.

The topic is read forward: first for the notes, which stand behind the letters that they settle, then for the
letters. In memory are the numbers of settled offsets, and the letter at hand. Letters that
are sent are copied, acknowledged, and then noted as settled (``dead_letters.py``). A run that ends in between
does no harm: the copies are sent again under the same ids.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from dingbridge.errors import BridgeError, TopicError
from dingbridge.kafka.reader import Spans, TopicReader
from dingbridge.kafka.topic_policy import dlq_topic, inbox_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.copying import Copier, inbox_partitions
from dingbridge.replay.dead_letters import (
    NOTE_HEADER,
    SKIPPED,
    DeadLetter,
    DeadLetterFilter,
    Notes,
    is_note,
    new_run_id,
    note,
    read_dead_letter,
    replayed_as,
)
from dingbridge.settings import KafkaSettings

NOTED_AT_ONCE: Final = 1_000

Place = tuple[int, int]
"""Partition and offset in the dead-letter topic."""

Found = tuple[DeadLetter, str | None]
"""A dead letter and what settled it (None: it waits)."""


@dataclass(slots=True)
class DeadLetterGroup:
    """The dead letters of one EventType that one error (type and place of the exception) has made.

    ``oldest`` and ``newest`` are when the first and the last of them was given up, None where none says so;
    ``reason`` is what the handler said of the last one, and may be private.
    """

    error: str
    event_type: str
    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    reason: str = ""

    def add(self, at: datetime | None, reason: str = "") -> None:
        """Count one more, given up ``at``."""
        self.count += 1
        if self.newest is None or (at is not None and at >= self.newest):
            self.reason = reason or self.reason
        if at is not None:
            self.oldest = min(at, self.oldest or at)
            self.newest = max(at, self.newest or at)


@dataclass(slots=True)
class Selection:
    """The dead letters that a command is about: the oldest ``limit`` (0: all) that ``wanted`` admits, settled
    ones only if ``again``. ``run`` is what their notes will name.

    ``count`` is their number, ``by_type`` the same by EventType; ``settled`` is how many match too, and are
    left out.
    """

    wanted: DeadLetterFilter
    limit: int
    again: bool
    run: str
    settled: int = 0
    by_type: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.by_type.total()


class DeadLetterQueue:
    """``async with DeadLetterQueue(settings, "billing") as queue``. It reads to the end that the topic had at
    its entry.

    Entering raises ``TopicError`` when the consumer has no dead-letter topic. Every method raises
    ``KafkaUnavailable``.
    """

    def __init__(self, settings: KafkaSettings, consumer: str) -> None:
        self._settings, self._consumer = settings, consumer
        self._stack = AsyncExitStack()
        self._topic = dlq_topic(settings, consumer)
        self._inbox = inbox_topic(settings, consumer)
        self._spans: Spans = {}
        self._notes: dict[int, Notes] = {}
        """By partition; empty until the first question."""

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

    async def letters(self, wanted: DeadLetterFilter) -> AsyncGenerator[Found, None]:
        """Yield the letters that match, the oldest first. Those of one partition stay in their order."""
        self._notes = self._notes or await self._read_notes()
        async with aclosing(self._reader.read(self._spans)) as records:
            async for record in records:
                if wanted.places and (record.partition, record.offset) not in wanted.places:
                    continue  # reading the headers of a long queue takes seconds
                if not is_note(record) and wanted.admits(found := read_dead_letter(record)):
                    yield found, self._notes[record.partition].by(record.offset)

    async def waiting(self, wanted: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
        """Yield the letters that match and are not settled, the oldest first."""
        async with aclosing(self.letters(wanted)) as letters:
            async for found, by in letters:
                if by is None:
                    yield found

    async def groups(self, wanted: DeadLetterFilter) -> list[DeadLetterGroup]:
        """Those that match and wait, counted by error and EventType; the largest group first."""
        groups: dict[tuple[str, str], DeadLetterGroup] = {}
        async with aclosing(self.waiting(wanted)) as letters:
            async for found in letters:
                name = (found.error, found.event_type)
                groups.setdefault(name, DeadLetterGroup(*name)).add(found.at, found.reason)
        return sorted(groups.values(), key=lambda group: (-group.count, group.error, group.event_type))

    async def find(self, partition: int, offset: int) -> Found:
        """The dead letter at this place. Raises ``BridgeError`` when there is none."""
        async with aclosing(self.letters(DeadLetterFilter(places=frozenset([(partition, offset)])))) as found:
            async for letter in found:
                return letter
        raise BridgeError(
            f"there is no dead letter {partition}/{offset} of {self._consumer}; "
            f"`dingbridge dlq list {self._consumer}` prints their places"
        )

    async def select(
        self, wanted: DeadLetterFilter, *, limit: int = 0, again: bool = False, skip: bool = False
    ) -> Selection:
        """Count what ``replay`` would send, or ``skip`` give up."""
        selected = Selection(wanted, limit, again, SKIPPED if skip else new_run_id())
        async with aclosing(self.letters(wanted)) as letters:
            async for found, by in letters:
                if by is not None and not again:
                    selected.settled += 1
                elif not limit or selected.count < limit:
                    selected.by_type[found.event_type] += 1
        return selected

    async def replay(self, selected: Selection, on_sent: Callable[[int], None]) -> None:
        """Send what was selected; ``on_sent`` gets the number of each batch that was acknowledged."""
        partitions = await inbox_partitions(self._settings, self._consumer, [self._topic])
        await self._settle(selected, partitions, on_sent)

    async def skip(self, selected: Selection, on_skipped: Callable[[int], None]) -> None:
        """Give up for good what was selected: it is not offered again. ``on_skipped`` gets the number of each
        batch that was noted."""
        await self._settle(selected, 1, on_skipped)

    async def _settle(self, selected: Selection, partitions: int, on_settled: Callable[[int], None]) -> None:
        batch: list[Place] = []
        left = selected.count  # what has come since the count is not meant
        async with (
            Copier(self._settings, self._inbox, partitions) as copier,
            aclosing(self.letters(selected.wanted)) as letters,
        ):
            async for found, by in letters:
                if by is not None and not selected.again:
                    continue
                if not left:
                    break
                left -= 1
                if selected.run != SKIPPED:
                    await copier.add(found.record, replayed_as(found, by))
                batch.append((found.record.partition, found.record.offset))
                if copier.full or len(batch) >= NOTED_AT_ONCE:
                    await self._note(copier, selected.run, batch)
                    on_settled(len(batch))
                    batch.clear()
            await self._note(copier, selected.run, batch)
            on_settled(len(batch))

    async def _note(self, copier: Copier, run: str, batch: Sequence[Place]) -> None:
        """Note ``batch`` as settled; only once its copies are acknowledged: it is not offered again."""
        await copier.flush()
        offsets: dict[int, list[int]] = {}
        for partition, offset in batch:
            offsets.setdefault(partition, []).append(offset)
        for partition, listed in offsets.items():
            await copier.write(self._topic, partition, note(listed), [(NOTE_HEADER, run.encode())])
        await copier.flush()

    async def _read_notes(self) -> dict[int, Notes]:
        notes = {partition.partition: Notes() for partition in self._spans}
        async with aclosing(self._reader.read(self._spans)) as records:
            async for record in records:
                if is_note(record):
                    notes[record.partition].add(record)
        return notes
