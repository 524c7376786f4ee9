"""The outcomes of records, as the index knows them: dead letters, what settled them, copies in inboxes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apsw

from dingbridge.console.index.records import Copy, IndexedEvent, Letter
from dingbridge.console.index.store import Index
from dingbridge.events.foreign import moment
from dingbridge.worker.context import Position

_LETTERS = (
    'SELECT consumer, first_topic, first_partition, first_offset, topic, partition, "offset", error, '
    "attempts, at_ms, replay_id FROM letters "
    "WHERE first_topic = ? AND first_partition = ? AND first_offset = ?"
)
_COPIES = (
    "SELECT consumer, from_topic, from_partition, from_offset, replay_id, "
    'topic, partition, "offset", at_ms FROM copies '
    "WHERE from_topic = ? AND from_partition = ? AND from_offset = ?"
)
_SETTLED = 'SELECT run FROM settled WHERE topic = ? AND partition = ? AND "offset" = ? ORDER BY at_ms LIMIT 1'


@dataclass(frozen=True, slots=True)
class After:
    """``letters`` in the order in which they were given up; ``settled`` who settled them, by place;
    ``copies`` of the records and of their dead letters."""

    letters: tuple[Letter, ...]
    settled: dict[Position, str]
    copies: tuple[Copy, ...]


def after(index: Index, events: Iterable[Sequence[IndexedEvent]]) -> list[After]:
    """The outcome of each of ``events``, each given by its records. Blocks for a moment."""
    with index.reading() as db:
        return [_after(db, records) for records in events]


def _after(db: apsw.Connection, records: Sequence[IndexedEvent]) -> After:
    letters: set[Letter] = set()
    copies: set[Copy] = set()
    places = {event.place for event in records}
    for _ in range(2):  # one that is replayed from its topic and dies again, names the inbox as its place
        letters |= _letters(db, places)
        copies |= _copies(db, places | {letter.place for letter in letters})
        places = {copy.place for copy in copies}
    settled = {
        letter.place: str(run)
        for letter in letters
        if (run := db.execute(_SETTLED, letter.place).get) is not None
    }
    return After(
        tuple(sorted(letters, key=lambda letter: (letter.at, letter.place))),
        settled,
        tuple(sorted(copies, key=lambda copy: (copy.at, copy.place))),
    )


def _letters(db: apsw.Connection, places: Iterable[Position]) -> set[Letter]:
    rows = [row for place in places for row in db.execute(_LETTERS, place)]
    return {Letter(r[0], Position(*r[1:4]), Position(*r[4:7]), r[7], r[8], moment(r[9]), r[10]) for r in rows}


def _copies(db: apsw.Connection, places: Iterable[Position]) -> set[Copy]:
    rows = [row for place in places for row in db.execute(_COPIES, place)]
    return {Copy(r[0], Position(*r[1:4]), r[4], Position(*r[5:8]), moment(r[8])) for r in rows}
