"""The dead letters of one consumer: listing them, and sending them back into its inbox.

Each is copied, acknowledged, and then noted as settled (``dead_letters.py``); one that was copied by a run
that ended before the note is found in the inbox, and only noted.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiokafka import TopicPartition

from dingbridge.errors import BridgeError, TopicError
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import dlq_topic, existing_topics, inbox_topic
from dingbridge.replay.copying import Copier, inbox_partitions, new_replay_id
from dingbridge.replay.dead_letter_groups import DeadLetterGroup, DeadLetterGroups
from dingbridge.replay.dead_letters import (
    NOTE_HEADER,
    SKIPPED,
    DeadLetter,
    DeadLetterFilter,
    Settled,
    is_note,
    note,
    read_dead_letter,
    settled,
)
from dingbridge.replay.history import Copied, Copies, copies
from dingbridge.settings import KafkaSettings

NOTED_AT_ONCE = 1_000


@dataclass(slots=True)
class ReplayPlan:
    """What a replay would do: ``to_send`` dead letters will be sent, ``noted`` are in the inbox already, by a
    run that was interrupted, ``settled`` match too and are left out. Of skipping: ``to_send`` are to be given
    up."""

    replay_id: str
    resumed: bool = False
    to_send: int = 0
    noted: int = 0
    settled: int = 0
    by_type: Counter[str] = field(default_factory=Counter)


class DeadLetterQueue:
    """``async with DeadLetterQueue(settings, "billing") as queue``; what is in the topic then is what it
    knows.

    Entering raises ``TopicError`` when the consumer has no dead-letter topic. Every method raises
    ``KafkaUnavailable``.
    """

    def __init__(self, settings: KafkaSettings, consumer: str) -> None:
        self._settings, self._consumer = settings, consumer
        self._stack = AsyncExitStack()
        self._topic = dlq_topic(settings, consumer)
        self._inbox = inbox_topic(settings, consumer)
        self._spans: dict[TopicPartition, Span] = {}
        self._counts: dict[str, int] = {}
        self._runs, self._copied = Copies(), Copied([])

    async def __aenter__(self) -> Self:
        self._counts = await existing_topics(self._settings, [self._topic])
        if self._topic not in self._counts:
            raise TopicError(
                f"consumer {self._consumer} has no dead letters: there is no topic {self._topic}. It is made "
                "when the consumer first starts; `dingbridge topics list` shows those that exist"
            )
        async with AsyncExitStack() as stack:
            self._reader = await stack.enter_async_context(TopicReader(self._settings))
            self._spans = await self._reader.spans({self._topic: self._counts[self._topic]})
            self._settled: Settled = await settled(self._reader, self._spans)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def dead_letters(
        self, wanted: DeadLetterFilter
    ) -> AsyncGenerator[tuple[DeadLetter, str | None], None]:
        """Those that match, the oldest first, each with what settled it (None: it waits)."""
        async with aclosing(self._reader.read(self._spans)) as records:
            async for record in records:
                if not is_note(record) and wanted.admits(found := read_dead_letter(record)):
                    yield found, self._settled.by(found)

    async def find(self, partition: int, offset: int) -> DeadLetter:
        """The dead letter at this place. Raises ``BridgeError`` when there is none."""
        place = TopicPartition(self._topic, partition)
        span = self._spans.get(place, Span(0, 0))
        if span.begin <= offset < span.end:
            async with aclosing(self._reader.read({place: Span(offset, offset + 1)})) as records:
                async for record in records:
                    if not is_note(record):
                        return read_dead_letter(record)
        raise BridgeError(
            f"there is no dead letter {partition}/{offset} of {self._consumer}; "
            f"`dingbridge dlq list {self._consumer}` prints their places"
        )

    def settled_by(self, found: DeadLetter) -> str | None:
        """The replay (or ``skipped``) that settled it, None while it waits."""
        return self._settled.by(found)

    async def plan(
        self, wanted: DeadLetterFilter, *, limit: int = 0, again: bool = False, resume: str | None = None
    ) -> ReplayPlan:
        """Count what ``replay`` would send: at most ``limit`` that match (0: all), settled ones only if
        ``again``. ``resume`` names the run that is to go on."""
        await self._read_inbox(again, resume)
        plan = ReplayPlan(resume or new_replay_id(), resumed=resume is not None)
        async with aclosing(self._selected(wanted, limit, again, plan)) as selected:
            async for found in selected:
                if found.record in self._copied:
                    plan.noted += 1
                    if not plan.resumed:
                        plan.replay_id, plan.resumed = self._run_of(found), True
                else:
                    plan.to_send += 1
                    plan.by_type[found.event_type] += 1
        return plan

    async def replay(
        self,
        plan: ReplayPlan,
        wanted: DeadLetterFilter,
        on_sent: Callable[[int], None],
        *,
        limit: int = 0,
        again: bool = False,
    ) -> None:
        """Send what ``plan`` counted; ``on_sent`` is told how many more were acknowledged."""
        partitions = await inbox_partitions(self._settings, self._consumer, [self._topic])
        batch: list[DeadLetter] = []
        copied = 0

        async def settle() -> None:
            # only what is acknowledged is settled: what is noted is offered to nobody again
            await copier.flush()
            await self._note(copier, plan.replay_id, batch)
            on_sent(copied)

        async with (
            Copier(self._settings, self._inbox, partitions) as copier,
            aclosing(self._selected(wanted, limit, again, None)) as selected,
        ):
            async for found in selected:
                if found.record not in self._copied:
                    await copier.add(found.record, plan.replay_id)
                    copied += 1
                batch.append(found)
                if copier.full or len(batch) >= NOTED_AT_ONCE:
                    await settle()
                    batch, copied = [], 0
            await settle()

    async def groups(self, wanted: DeadLetterFilter) -> list[DeadLetterGroup]:
        """Those that match and wait, counted by error and EventType; the largest group first."""
        found = DeadLetterGroups()
        async with aclosing(self.dead_letters(wanted)) as dead_letters:
            async for letter, by in dead_letters:
                if by is None:
                    found.add(letter)
        return found.listed()

    async def plan_skip(self, wanted: DeadLetterFilter, *, limit: int = 0) -> ReplayPlan:
        """Count what ``skip`` would give up: at most ``limit`` that match and wait (0: all)."""
        plan = ReplayPlan(SKIPPED)
        async with aclosing(self._selected(wanted, limit, again=False, plan=plan)) as selected:
            async for found in selected:
                plan.to_send += 1
                plan.by_type[found.event_type] += 1
        return plan

    async def skip(
        self, wanted: DeadLetterFilter, on_skipped: Callable[[int], None], *, limit: int = 0
    ) -> None:
        """Give up for good what ``plan_skip`` counted: it is not offered again. ``on_skipped`` is told how
        many more were noted."""
        batch: list[DeadLetter] = []
        async with (
            Copier(self._settings, self._inbox, 1) as copier,
            aclosing(self._selected(wanted, limit, again=False, plan=None)) as selected,
        ):
            async for found in selected:
                batch.append(found)
                if len(batch) >= NOTED_AT_ONCE:
                    await self._note(copier, SKIPPED, batch)
                    on_skipped(len(batch))
                    batch = []
            await self._note(copier, SKIPPED, batch)
            on_skipped(len(batch))

    async def _read_inbox(self, again: bool, resume: str | None) -> None:
        """Find what earlier runs have copied and not noted."""
        found = Copies()
        if self._inbox not in self._counts:  # only not to be read just now? Then what was copied is not known
            self._counts = await existing_topics(self._settings, [self._topic, self._inbox])
        if self._inbox in self._counts and not (again and resume is None):
            spans = await self._reader.spans({self._inbox: self._counts[self._inbox]})
            found = await copies(
                self._reader,
                spans,
                lambda run, source: source.topic == self._topic and (not again or run == resume),
            )
        self._runs, self._copied = found, found.of_all()

    def _run_of(self, found: DeadLetter) -> str:
        return next(run for run in reversed(list(self._runs.runs)) if found.record in self._runs.of(run))

    async def _selected(
        self, wanted: DeadLetterFilter, limit: int, again: bool, plan: ReplayPlan | None
    ) -> AsyncGenerator[DeadLetter, None]:
        """The dead letters that a replay is about, the same ones each time."""
        count = 0
        async with aclosing(self.dead_letters(wanted)) as dead_letters:
            async for found, by in dead_letters:
                if by is not None and not again:
                    if plan is not None:
                        plan.settled += 1
                    continue
                count += 1
                yield found
                if count == limit:
                    return

    async def _note(self, copier: Copier, run: str, dead_letters: Iterable[DeadLetter]) -> None:
        offsets: dict[int, list[int]] = {}
        for found in dead_letters:
            offsets.setdefault(found.record.partition, []).append(found.record.offset)
        for partition, listed in offsets.items():
            await copier.write(self._topic, partition, note(listed), [(NOTE_HEADER, run.encode())])
        await copier.flush()
