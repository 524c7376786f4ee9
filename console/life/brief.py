"""What the consumers made of a record, in as few words as a row of a list has room for."""

from collections.abc import Iterable, Mapping
from typing import Final

from console.life.outcome import Facts, State, outcome_of, replays_of
from dingbridge.worker.context import Position

MARKS: Final[Mapping[State, str]] = {
    "dead": "bad",
    "paused": "warn",
    "retrying": "warn",
    "waiting": "warn",
    "unknown": "unknown",
    "queued": "unknown",
    "running": "unknown",
    "dead_settled": "unknown",
    "passed": "unknown",
    "filtered": "unknown",
    "handled": "good",
}
"""How a state is drawn; the worst one first."""


def in_brief(record: Position, facts: Iterable[Facts]) -> list[tuple[State, list[str]]]:
    """The consumers by state, the worst state first. What was sent to one of them once more counts by what
    became of it the last time."""
    found: dict[State, list[str]] = {}
    for one in facts:
        replays = replays_of(record, one)
        outcome = replays[-1].outcome if replays else outcome_of(record, one)
        found.setdefault(outcome.state, []).append(one.consumer)
    return [(state, found[state]) for state in MARKS if state in found]
