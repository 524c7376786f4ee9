"""What the index knows of what became of records: dead letters, what settled them, copies in inboxes."""

from collections.abc import Iterable
from dataclasses import dataclass

import apsw

from console.index.records import Copy, Letter, moment
from console.index.store import Index
from dingbridge.worker.context import Position


@dataclass(frozen=True, slots=True)
class After:
    """``letters`` in the order in which they were given up; ``settled`` who settled them, by place;
    ``copies`` of the records and of their dead letters."""

    letters: tuple[Letter, ...]
    settled: dict[Position, str]
    copies: tuple[Copy, ...]


def after(index: Index, records: Iterable[Position]) -> After:
    """What became of ``records``. Blocks for a moment."""
    with index.reading() as db:
        places = set(records)
        letters = _letters(db, places)
        copies = _copies(db, places | {letter.place for letter in letters})
        # one that is replayed from its topic and dies again, names the inbox as its first place
        letters |= _letters(db, {copy.place for copy in copies})
        copies |= _copies(db, {letter.place for letter in letters})
        ordered = sorted(letters, key=lambda letter: (letter.at, letter.place))
        return After(
            tuple(ordered), _settled(db, {letter.place for letter in letters}), tuple(sorted(copies, key=_at))
        )


def _at(copy: Copy) -> tuple[object, Position]:
    return copy.at, copy.place


def _letters(db: apsw.Connection, places: Iterable[Position]) -> set[Letter]:
    query = (
        'SELECT consumer, first_topic, first_partition, first_offset, topic, partition, "offset", error, '
        "attempts, at_ms, replay_id FROM letters "
        "WHERE first_topic = ? AND first_partition = ? AND first_offset = ?"
    )
    return {
        Letter(row[0], Position(*row[1:4]), Position(*row[4:7]), row[7], row[8], moment(row[9]), row[10])
        for place in places
        for row in db.execute(query, place)
    }


def _copies(db: apsw.Connection, places: Iterable[Position]) -> set[Copy]:
    query = (
        "SELECT consumer, from_topic, from_partition, from_offset, replay_id, "
        'topic, partition, "offset", at_ms FROM copies '
        "WHERE from_topic = ? AND from_partition = ? AND from_offset = ?"
    )
    return {
        Copy(row[0], Position(*row[1:4]), row[4], Position(*row[5:8]), moment(row[8]))
        for place in places
        for row in db.execute(query, place)
    }


def _settled(db: apsw.Connection, places: Iterable[Position]) -> dict[Position, str]:
    query = (
        'SELECT run FROM settled WHERE topic = ? AND partition = ? AND "offset" = ? ORDER BY at_ms LIMIT 1'
    )
    return {place: str(run) for place in places if (run := db.execute(query, place).get) is not None}
