"""The outcome of one record at one consumer, from all that is known of it. Pure; ``facts.py`` asks the
sources.

Nothing is guessed: where a source does not answer, the outcome is ``unknown`` or has no time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from aiokafka import TopicPartition

from dingbridge.console.index.records import Copy, Letter
from dingbridge.worker.context import Position
from dingbridge.worker.store.inbox import Applied

State = Literal[
    "handled",
    "dead",
    "dead_settled",
    "retrying",
    "paused",
    "running",
    "queued",
    "waiting",
    "committed",
    "passed",
    "unknown",
]
"""``handled``: there is an inbox row. ``dead``: given up; ``dead_settled``: and a replay or ``skipped`` has
settled that. ``retrying``, ``paused``, ``running``, ``queued``: a running worker has it. ``waiting``: its
offset is not committed yet. ``committed``: that is all that a consumer without a database leaves, so it is
done, or excluded by the consumer's declaration. ``passed``: committed, without a row: it was there before the
group began, its row was pruned, or its database does not answer. ``unknown``: Kafka does not return the
group's offsets."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one consumer. ``keeps_rows``: it has a database. ``inbox`` is ``{replay id: its row}``
    of the event, empty also without a database, or where it does not answer; ``committed`` the group's
    offsets by topic and partition, None where Kafka does not answer. ``letters`` are those of this event, the
    oldest first; ``settled`` who settled letters by their place, ``in_flight`` what running workers hold."""

    consumer: str
    installed: bool = True
    keeps_rows: bool = True
    inbox: Mapping[str, Applied] = field(default_factory=dict)
    committed: Mapping[TopicPartition, int] | None = field(default_factory=dict)
    letters: tuple[Letter, ...] = ()
    settled: Mapping[Position, str] = field(default_factory=dict)
    copies: tuple[Copy, ...] = ()
    in_flight: Mapping[Position, Mapping[str, Any]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """``at``: when it was applied or given up; ``before``: how many offsets of its partition are
    before it, while it waits; ``attempts``: how many there were, or which one applied it; ``error`` and
    ``again_at`` (RFC 3339) of what is retried or given up. Of one that is ``dead``, ``letter`` is None until
    the index has read it."""

    state: State
    at: datetime | None = None
    before: int | None = None
    attempts: int | None = None
    error: str | None = None
    again_at: str | None = None
    letter: Letter | None = None
    settled_by: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A copy of the record in the consumer's inbox topic, and its outcome."""

    copy: Copy
    outcome: Outcome


def outcome_of(record: Position, facts: Facts, copy: Copy | None = None) -> Outcome:
    """Of ``record``, or of its ``copy`` in the inbox topic of the consumer."""
    place, run = (record, "") if copy is None else (copy.place, copy.replay_id)
    if letters := [letter for letter in facts.letters if letter.replay_id == run]:
        return _dead(letters, facts)
    if (applied := facts.inbox.get(run)) is not None:
        return Outcome("dead" if applied.attempt is None else "handled", applied.at, attempts=applied.attempt)
    if (in_flight := facts.in_flight.get(place)) is not None:
        return Outcome(
            in_flight["state"],
            attempts=in_flight["attempts"],
            error=in_flight["error"],
            again_at=in_flight["next_attempt_at"],
        )
    if facts.committed is None:
        return Outcome("unknown")
    committed = facts.committed.get(TopicPartition(place.topic, place.partition))
    if committed is None:
        return Outcome("waiting")
    if place.offset >= committed:
        return Outcome("waiting", before=place.offset - committed)
    return Outcome("passed" if facts.keeps_rows else "committed")


def replays_of(record: Position, facts: Facts) -> list[Replayed]:
    """What was sent to the consumer once more of ``record``, or of its dead letters, in that order."""
    origins = {record, *(letter.place for letter in facts.letters if letter.first == record)}
    copies = sorted((copy for copy in facts.copies if copy.origin in origins), key=lambda copy: copy.at)
    return [Replayed(copy, outcome_of(record, facts, copy)) for copy in copies]


def in_flight_of(answers: Iterable[Mapping[str, Any]]) -> dict[Position, Mapping[str, Any]]:
    """What ``GET /in-flight`` of a consumer's processes names, by place."""
    return {
        Position(record["topic"], record["partition"], record["offset"]): record
        for answer in answers
        for record in answer.get("records", ())
    }


def _dead(letters: Sequence[Letter], facts: Facts) -> Outcome:
    """``letters`` are doubles of one, if a process died meanwhile: what settled one of them settled all."""
    letter = letters[-1]
    by = next((facts.settled[one.place] for one in letters if one.place in facts.settled), None)
    state: State = "dead" if by is None else "dead_settled"
    return Outcome(
        state, letter.at, attempts=letter.attempts, error=letter.error, letter=letter, settled_by=by
    )
