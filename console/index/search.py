"""Finds events: in the index, and where that does not reach, in the one partition that holds a key.

The answer includes what was searched and what was not.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Any

import apsw
from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from dingbridge.console.index.query import Query, parse
from dingbridge.console.index.records import EventEntry, IndexedEvent, epoch_ms, event_entry, moment
from dingbridge.console.index.store import Covered, Index, Partition
from dingbridge.console.sources.kafka import AskKafka
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.events.catalogue import catalogue
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings
from dingbridge.worker.store.inbox import storable

MOST_EVENTS = 100
"""Events of one answer, the latest ones."""

MOST_KEYS = 20
"""Keys that topics are searched for; words of many companies may mean more."""

INDEX_LIMIT_S = 5.0
READ_LIMIT_S = 10.0
"""How long the index, and topics beyond it, are searched, in s."""

AT_ONCE = 2
"""Searches that read topics at the same time, and that read the index: threads are few, others need some."""
TURN_S = 5.0
"""How long a search waits for its turn to read topics, in s; then it returns what the index has."""

_EVENT = (
    "e.source, e.id, e.type, e.corp_id, e.subject, e.time_ms, e.received_ms, e.published_ms, "
    'e.via, e.app, e.topic, e.partition, e."offset", e.key'
)


@dataclass(frozen=True, slots=True)
class Beyond:
    """What was looked at beyond the index: ``records`` that it lacks, in the partitions of ``keys`` in
    ``topics``; without keys nothing in the question is the subject of an event. ``stopped``: that took too
    long, or there were more than ``MOST_KEYS``, and the rest was not read; ``problem``: Kafka does not
    answer."""

    keys: tuple[str, ...] = ()
    topics: int = 0
    records: int = 0
    stopped: bool = False
    problem: BridgeError | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """``events``, the latest first; ``more``: there are more in the index. ``slow``: that was not searched to
    its end."""

    query: Query
    events: list[IndexedEvent]
    more: bool
    slow: bool
    beyond: Beyond


@dataclass(slots=True)
class Search:
    """``find`` what a person asks for."""

    settings: KafkaSettings
    index: Index
    ask_kafka: AskKafka
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _index_turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def find(self, text: str, zone: tzinfo = UTC) -> Findings:
        """All of ``text``'s words must lead to an event. A time that names no zone is in ``zone``."""
        query = parse(text, zone)
        covered = await asyncio.to_thread(self.index.spans)  # first: what comes meanwhile is found in either
        async with self._index_turn:
            events, slow = await asyncio.to_thread(self._in_index, query)
            if not events and not slow and len(query.terms) > 1:  # an id may hold blanks
                whole = replace(query, terms=(text.strip(),))
                events, slow = await asyncio.to_thread(self._in_index, whole)
        more, events = len(events) > MOST_EVENTS, events[:MOST_EVENTS]
        found, beyond = await self._beyond(query, covered)
        known = {event.place for event in events}
        events += [event for event in found if event.place not in known]
        events.sort(key=lambda event: event.received_time, reverse=True)
        return Findings(query, events, more, slow, beyond)

    async def of_event(self, source: str, event_id: str) -> list[IndexedEvent]:
        """All records of one event that the index knows, in the order in which they came."""
        names = {(s, i) for s in (source, storable(source)) for i in (event_id, storable(event_id))}
        query = f"SELECT {_EVENT} FROM ids i JOIN events e USING (n) WHERE i.value IN (?, ?)"  # noqa: S608
        found = await asyncio.to_thread(self._rows, query, [event_id, storable(event_id)])
        own = {event.place: event for event in found if (event.source, event.id) in names}
        return sorted(own.values(), key=lambda event: (event.published_time, event.place))

    async def newest(self, event_type: str, corp_id: str, subject: str) -> list[IndexedEvent]:
        """The latest that the index knows, at most ``MOST_EVENTS``, none where that takes too long; an
        empty text stands for any."""
        wanted = {"type": event_type, "corp_id": corp_id, "subject": subject}
        given = {name: text for name, text in wanted.items() if text}
        where = [f"e.{name} = ?" for name in given]
        bindings = list(given.values())
        if subject:  # the way to it: subjects alone have no index
            where.append("e.n IN (SELECT n FROM ids WHERE value = ?)")
            bindings.append(subject)
        query = (
            f"SELECT {_EVENT} FROM events e {'WHERE ' if where else ''}{' AND '.join(where)} "  # noqa: S608
            f"ORDER BY e.received_ms DESC LIMIT {MOST_EVENTS}"
        )
        return await asyncio.to_thread(self._rows_in_time, query, bindings)

    def _in_index(self, query: Query) -> tuple[list[IndexedEvent], bool]:
        """One more than are shown, and whether the time was up."""
        with self.index.reading() as db:
            return _in_time(db, *_statement(query, lambda name, term: _has(db, name, term)))

    def _rows_in_time(self, query: str, bindings: list[Any]) -> list[IndexedEvent]:
        with self.index.reading() as db:
            return _in_time(db, query, bindings)[0]

    def _rows(self, query: str, bindings: list[Any]) -> list[IndexedEvent]:
        with self.index.reading() as db:
            return _events(db, query, bindings)

    async def _beyond(
        self, query: Query, covered: Mapping[Partition, Covered]
    ) -> tuple[list[IndexedEvent], Beyond]:
        """What the index lacks of the keys that ``query`` may mean."""
        companies = await asyncio.to_thread(self.companies)
        keys, types = keys_of(query.terms, companies)
        if not keys:
            return [], Beyond()
        beyond = Beyond(keys[:MOST_KEYS], stopped=len(keys) > MOST_KEYS)
        try:
            async with asyncio.timeout(TURN_S):
                await self._turn.acquire()
        except TimeoutError:
            return [], replace(beyond, stopped=True)
        try:
            counts = await self.ask_kafka(lambda: existing_topics(self.settings))
            topics = {name: counts[name] for name in _with_subject(self.settings, counts, types)}
            beyond = replace(beyond, topics=len(topics))
            return await self.ask_kafka.at_length(
                lambda: self._connect_and_read(topics, query, covered, beyond)
            )
        except KafkaUnavailable as error:
            return [], replace(beyond, problem=error)
        finally:
            self._turn.release()

    async def _connect_and_read(
        self, topics: dict[str, int], query: Query, covered: Mapping[Partition, Covered], beyond: Beyond
    ) -> tuple[list[IndexedEvent], Beyond]:
        async with TopicReader(self.settings) as reader:
            return await self._read(reader, topics, query, covered, beyond)

    async def _read(
        self,
        reader: TopicReader,
        topics: dict[str, int],
        query: Query,
        covered: Mapping[Partition, Covered],
        beyond: Beyond,
    ) -> tuple[list[IndexedEvent], Beyond]:
        homes = {count: {_home(key, count) for key in beyond.keys} for count in set(topics.values())}
        wanted = {TopicPartition(name, home) for name, count in topics.items() for home in homes[count]}
        there = await reader.spans(topics)
        before, behind = {}, {}
        for partition in wanted:
            span, known = there[partition], covered.get((partition.topic, partition.partition))
            first, after = (known.first, known.next) if known is not None else (span.end, span.end)
            before[partition] = Span(span.begin, min(first, span.end))
            behind[partition] = Span(max(after, span.begin), span.end)
        records, found = 0, []
        raw_keys = {key.encode() for key in beyond.keys}
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                for spans in (before, behind):
                    async with aclosing(reader.read(spans)) as reading:
                        async for record in reading:
                            records += 1
                            if record.key not in raw_keys:
                                continue
                            entry = event_entry(record)
                            if entry is not None and _fits(entry, query, beyond.keys):
                                found.append(entry.event)
        except TimeoutError:
            return found, replace(beyond, records=records, stopped=True)
        return found, replace(beyond, records=records)

    def companies(self) -> list[str]:
        """The corpIds of which there are events. Blocks for a moment."""
        with self.index.reading() as db:
            return [corp for (corp,) in db.execute("SELECT DISTINCT corp_id FROM types ORDER BY corp_id")]


def keys_of(terms: Iterable[str], companies: list[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The keys that ``terms`` may mean, and the EventTypes that they name (none: any).

    A key is ``<corpId>:<subject>``; an event's id may end in ``/<subject>``, and begin with its type.
    """
    types = {term for term in terms if term in catalogue}
    subjects, keys = [], []
    for term in terms:
        event_type, _, rest = term.partition(":")
        if term in catalogue or term in companies:
            continue
        if event_type in catalogue and rest:
            types.add(event_type)
            subjects += [rest.partition("/")[2]] if "/" in rest else []
        elif rest:
            keys.append(term)
        else:
            subjects.append(term)
    named = [corp for corp in companies if corp in terms] or companies
    keys += [f"{corp}:{subject}" for corp in named for subject in subjects]
    return tuple(dict.fromkeys(keys)), frozenset(types)


def _with_subject(settings: KafkaSettings, names: Iterable[str], types: frozenset[str]) -> list[str]:
    """Event topics whose records have a subject in their key."""
    found = []
    for name in names:
        if name.startswith(settings.topic_prefix):
            spec = catalogue.get(event_type := name.removeprefix(settings.topic_prefix))
            if spec is not None and spec.subject is not None and (not types or event_type in types):
                found.append(name)
    return found


def _home(key: str, partitions: int) -> int:
    everywhere = list(range(partitions))
    return int(DefaultPartitioner()(key.encode(), everywhere, everywhere))


def _fits(entry: EventEntry, query: Query, keys: tuple[str, ...]) -> bool:
    event = entry.event
    ends = {key.partition(":")[2] for key in keys} | set(keys)
    known = entry.ids | {event.type, event.corp_id, event.key} | ends
    return query.covers(event.time, event.received_time) and all(term in known for term in query.terms)


def _statement(query: Query, has: Callable[[str, str], bool]) -> tuple[str, list[Any]]:
    """The question in SQL. ``has(column, term)``: whether the index has such a type or company; what is
    neither is an id, or ``<corpId>:<id>``."""
    ids: list[str] = []
    where: list[str] = []
    bindings: list[Any] = []
    for term in query.terms:
        column = next((column for column in ("type", "corp_id") if has(column, term)), None)
        corp, _, subject = term.partition(":")
        keyed = column is None and subject != "" and has("corp_id", corp)
        if column is None:
            ids.append(storable(subject if keyed else term))
        if column is not None or keyed:
            where.append(f"e.{column or 'key'} = ?")
            bindings.append(storable(term))
    joins = "".join(f" JOIN ids i{n} ON i{n}.n = e.n AND i{n}.value = ?" for n in range(len(ids)))
    if query.since is not None or query.until is not None:
        since = epoch_ms(query.since) if query.since is not None else 0
        until = epoch_ms(query.until) if query.until is not None else 1 << 62
        within = ("received_ms >= ? AND received_ms < ?", "time_ms >= ? AND time_ms < ?")
        if ids:
            where.append(f"(e.{within[0]} OR {within[1]})".replace("received_ms <", "e.received_ms <"))
        else:  # an index for each
            either = " UNION ".join(f"SELECT n FROM events WHERE {condition}" for condition in within)  # noqa: S608
            where.append(f"e.n IN ({either})")
        bindings += [since, until, since, until]
    order = "i0.received_ms" if ids else "e.received_ms"  # each is in order already
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    statement = f"SELECT {_EVENT} FROM events e{joins}{condition} ORDER BY {order} DESC"  # noqa: S608
    return f"{statement} LIMIT {MOST_EVENTS + 1}", [*ids, *bindings]


def _has(db: apsw.Connection, column: str, term: str) -> bool:
    statement = f"SELECT 1 FROM types WHERE {column} = ? LIMIT 1"  # noqa: S608
    return db.execute(statement, (storable(term),)).get is not None


def _in_time(db: apsw.Connection, query: str, bindings: list[Any]) -> tuple[list[IndexedEvent], bool]:
    """None of them, and True, where it takes longer than ``INDEX_LIMIT_S``."""
    deadline = time.monotonic() + INDEX_LIMIT_S
    db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        return _events(db, query, bindings), False
    except apsw.InterruptError:
        return [], True


def _events(db: apsw.Connection, query: str, bindings: list[Any]) -> list[IndexedEvent]:
    return [_event(row) for row in db.execute(query, bindings)]


def _event(row: Any) -> IndexedEvent:
    named, moments, rest = row[:5], [moment(ms) for ms in row[5:8]], row[8:]
    return IndexedEvent(*named, *moments, *rest)
