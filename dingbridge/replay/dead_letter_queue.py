"""The dead letters of one consumer: listing them, and sending them back into its inbox.

A letter without a block is copied, acknowledged, and then noted as settled (``letters.py``); one that was
copied by a run that ended before the note is found in the inbox, and only noted. A blocked key's letters go
back all together and in order, and free the key when the consumer has applied the last one (``blocks.py``).
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiokafka import TopicPartition

from dingbridge.errors import BridgeError, TopicError
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import dlq_topic, existing_topics, inbox_topic
from dingbridge.replay.blocks import POLL_S, Blocks
from dingbridge.replay.copying import Copier, inbox_partitions, new_replay_id
from dingbridge.replay.dead_letters import (
    NOTE_HEADER,
    SKIPPED,
    Letter,
    LetterFilter,
    Settled,
    is_note,
    note,
    read_letter,
    settled,
)
from dingbridge.replay.history import Copied, Copies, copies
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.blocked import LETTER_HEADER, Blocked


@dataclass(slots=True)
class ReplayPlan:
    """What a replay would do.

    ``loose`` letters without a block will be sent, ``noted`` are in the inbox already, by a run that was
    interrupted. ``blocked`` are the keys that go back, by blocking id, with the number of their letters.
    ``settled`` letters match too and are left out.
    """

    replay_id: str
    resumed: bool = False
    loose: int = 0
    noted: int = 0
    settled: int = 0
    blocked: dict[str, int] = field(default_factory=dict)
    by_type: Counter[str] = field(default_factory=Counter)

    @property
    def to_send(self) -> int:
        return self.loose + sum(self.blocked.values())


@dataclass(slots=True)
class Freed:
    """How the blocked keys of a replay ended: ``freed`` of them go on, ``failed`` at a letter that failed
    again, ``waiting`` for the consumer when we stopped to look."""

    freed: int = 0
    failed: list[Blocked] = field(default_factory=list)
    waiting: list[Blocked] = field(default_factory=list)


class LetterBox:
    """``async with LetterBox(settings, "billing") as box``; what stands in the topic then is what it knows.

    Entering raises ``TopicError`` when the consumer has no dead letters' topic. Every method raises
    ``KafkaUnavailable``.
    """

    def __init__(self, settings: ConsumerSettings, consumer: str) -> None:
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
            self.blocks = await stack.enter_async_context(Blocks(self._settings, self._consumer))
            self._spans = await self._reader.spans({self._topic: self._counts[self._topic]})
            rows = self.blocks.rows if self.blocks.unknown is None else None
            self._settled: Settled = await settled(self._reader, self._spans, rows)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def letters(self, wanted: LetterFilter) -> AsyncGenerator[tuple[Letter, str | None], None]:
        """Those that match, the oldest first, each with what settled it (None: it waits)."""
        async with aclosing(self._reader.read(self._spans)) as records:
            async for record in records:
                if not is_note(record) and wanted.admits(letter := read_letter(record)):
                    yield letter, self._settled.by(letter)

    async def find(self, partition: int, offset: int) -> Letter:
        """The letter at this place. Raises ``BridgeError`` when there is none."""
        place = TopicPartition(self._topic, partition)
        span = self._spans.get(place, Span(0, 0))
        if span.begin <= offset < span.end:
            async with aclosing(self._reader.read({place: Span(offset, offset + 1)})) as records:
                async for record in records:
                    if not is_note(record):
                        return read_letter(record)
        raise BridgeError(
            f"there is no dead letter {partition}/{offset} of {self._consumer}; "
            f"`dingbridge dlq list {self._consumer}` prints their places"
        )

    def settled_by(self, letter: Letter) -> str | None:
        """The replay (or ``skipped``, or the block) that settled it, None while it waits."""
        return self._settled.by(letter)

    async def plan(
        self, wanted: LetterFilter, *, limit: int = 0, again: bool = False, resume: str | None = None
    ) -> ReplayPlan:
        """Count what ``replay`` would send: at most ``limit`` matching letters (0: all), settled ones only if
        ``again``. ``resume`` names the run that is to go on."""
        await self._read_inbox(again, resume)
        plan = ReplayPlan(resume or new_replay_id(), resumed=resume is not None)
        async with aclosing(self._selected(wanted, limit, again, plan)) as selected:
            async for letter in selected:
                if letter.blocking_id is not None:
                    self.blocks.need()
                    plan.blocked[letter.blocking_id] = 0
                elif letter.record in self._copied:
                    plan.noted += 1
                    if not plan.resumed:
                        plan.replay_id, plan.resumed = self._run_of(letter), True
                else:
                    plan.loose += 1
                    plan.by_type[letter.event_type] += 1
        if plan.blocked:
            under_way = next((row.replay_id for row in self._rows(plan) if row.replay_id is not None), None)
            if under_way is not None and not plan.resumed:
                plan.replay_id, plan.resumed = under_way, True
            async for letter in self._blocked_letters(self._rows(plan), {}, self._spans):
                plan.blocked[str(letter.blocking_id)] += 1
                plan.by_type[letter.event_type] += 1
        return plan

    async def replay(
        self,
        plan: ReplayPlan,
        wanted: LetterFilter,
        on_sent: Callable[[int], None],
        *,
        limit: int = 0,
        again: bool = False,
        wait_s: float = 0,
    ) -> Freed:
        """Send what ``plan`` counted; ``on_sent`` is told how many more were acknowledged.

        Afterwards waits up to ``wait_s`` for the consumer to apply the letters of blocked keys; those that it
        adds to them meanwhile are sent, too.
        """
        partitions = await inbox_partitions(self._settings, self._consumer, [self._topic])
        async with Copier(self._settings, self._inbox, partitions) as copier:
            rows = await self.blocks.begin_replay(self._rows(plan), plan.replay_id) if plan.blocked else []
            sent_to = await self._send_blocked(copier, plan, rows, {}, self._spans, on_sent)
            async with aclosing(self._selected(wanted, limit, again, None)) as selected:
                await self._send_loose(copier, plan, selected, on_sent)
            return await self._see_through(copier, plan, sent_to, on_sent, time.monotonic() + wait_s)

    async def skip(self, letter: Letter) -> str:
        """Give ``letter`` up for good, and of a blocked key all before it; returns what became of it.

        Raises ``BridgeError`` when it is settled already.
        """
        if (by := self._settled.by(letter)) is not None:
            raise BridgeError(f"the dead letter {letter.place} is settled already ({by})")
        row = self.blocks.rows.get(letter.blocking_id or "")
        if row is not None:
            free = await self.blocks.skip(row, letter.record.offset)
            return "the key is free" if free else "the key stays blocked: replay the letters behind it"
        async with Copier(self._settings, self._inbox, 1) as copier:
            await self._note(copier, SKIPPED, [letter])
        return "it is not offered again"

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

    def _run_of(self, letter: Letter) -> str:
        return next(run for run in reversed(list(self._runs.runs)) if letter.record in self._runs.of(run))

    async def _selected(
        self, wanted: LetterFilter, limit: int, again: bool, plan: ReplayPlan | None
    ) -> AsyncGenerator[Letter, None]:
        """The letters that a replay is about, the same ones each time."""
        count = 0
        async with aclosing(self.letters(wanted)) as letters:
            async for letter, by in letters:
                if by is not None and (letter.blocking_id is not None or not again):
                    if plan is not None:
                        plan.settled += 1
                    continue
                count += 1
                yield letter
                if count == limit:
                    return

    def _rows(self, plan: ReplayPlan) -> list[Blocked]:
        return [self.blocks.rows[blocking_id] for blocking_id in plan.blocked]

    async def _blocked_letters(
        self, rows: Iterable[Blocked], after: dict[str, int], spans: dict[TopicPartition, Span]
    ) -> AsyncGenerator[Letter, None]:
        """The letters of these blocks in order, behind those that were applied and behind ``after``."""
        lower = {row.blocking_id: row.replayed_to if row.replayed_to is not None else -1 for row in rows}
        lower = {blocking_id: after.get(blocking_id, offset) for blocking_id, offset in lower.items()}
        async with aclosing(self._reader.read(spans)) as records:
            async for record in records:
                letter = read_letter(record)
                if letter.blocking_id in lower and record.offset > lower[letter.blocking_id]:
                    yield letter

    async def _send_blocked(
        self,
        copier: Copier,
        plan: ReplayPlan,
        rows: list[Blocked],
        after: dict[str, int],
        spans: dict[TopicPartition, Span],
        on_sent: Callable[[int], None],
    ) -> dict[str, int]:
        """Returns the offset of the last letter sent, by blocking id."""
        sent_to = {row.blocking_id: after.get(row.blocking_id, row.replayed_to or 0) for row in rows}
        pending = 0
        if rows:
            async for letter in self._blocked_letters(rows, after, spans):
                offset = letter.record.offset
                await copier.add(letter.record, plan.replay_id, (LETTER_HEADER, str(offset).encode()))
                sent_to[str(letter.blocking_id)] = offset
                pending += 1
                if copier.full:
                    await copier.flush()
                    on_sent(pending)
                    pending = 0
            await copier.flush()
            on_sent(pending)
        return sent_to

    async def _send_loose(
        self,
        copier: Copier,
        plan: ReplayPlan,
        selected: AsyncIterator[Letter],
        on_sent: Callable[[int], None],
    ) -> None:
        batch: list[Letter] = []
        copied = 0
        async for letter in selected:
            if letter.blocking_id is not None:
                continue  # went with its key
            if letter.record not in self._copied:
                await copier.add(letter.record, plan.replay_id)
                copied += 1
            batch.append(letter)
            if copier.full or len(batch) >= 1_000:
                await self._settle(copier, plan, batch, copied, on_sent)
                batch, copied = [], 0
        await self._settle(copier, plan, batch, copied, on_sent)

    async def _settle(
        self,
        copier: Copier,
        plan: ReplayPlan,
        batch: list[Letter],
        copied: int,
        on_sent: Callable[[int], None],
    ) -> None:
        # only what is acknowledged is settled: a letter that is noted is offered to nobody again
        await copier.flush()
        await self._note(copier, plan.replay_id, batch)
        on_sent(copied)

    async def _note(self, copier: Copier, run: str, letters: Iterable[Letter]) -> None:
        offsets: dict[int, list[int]] = {}
        for letter in letters:
            offsets.setdefault(letter.record.partition, []).append(letter.record.offset)
        for partition, listed in offsets.items():
            await copier.write(self._topic, partition, note(listed), [(NOTE_HEADER, run.encode())])
        await copier.flush()

    async def _see_through(
        self,
        copier: Copier,
        plan: ReplayPlan,
        sent_to: dict[str, int],
        on_sent: Callable[[int], None],
        until: float,
    ) -> Freed:
        """Wait for the blocked keys, and send what follows them into the dead letters meanwhile."""
        result = Freed()
        spans = self._spans
        while sent_to:
            await self.blocks.wait_for(sent_to, plan.replay_id, until)
            for blocking_id in list(sent_to):
                row = self.blocks.rows.get(blocking_id)
                if row is None:
                    result.freed += 1
                elif row.replay_id != plan.replay_id:
                    result.failed.append(row)
                else:
                    continue
                del sent_to[blocking_id]
            rows = [self.blocks.rows[blocking_id] for blocking_id in sent_to]
            if time.monotonic() >= until:
                result.waiting = rows
                break
            grown = [row for row in rows if (row.last_letter or 0) > sent_to[row.blocking_id]]
            if grown:
                ends = await self._reader.spans({self._topic: self._counts[self._topic]})
                spans = {p: Span(spans[p].end, span.end) for p, span in ends.items()}
                sent_to |= await self._send_blocked(copier, plan, grown, sent_to, spans, on_sent)
                await asyncio.sleep(POLL_S)
        return result
