"""A record's outcomes, short enough for a row of a list."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from dingbridge.console.life.outcome import Facts, Outcome, Replayed, State, outcome_of, replays_of
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
    "handled": "good",
    "committed": "good",
}
"""How a state is drawn; the worst one first."""


def in_brief(record: Position, facts: Iterable[Facts]) -> list[tuple[State, list[str]]]:
    """The consumers by state, the worst state first."""
    found: dict[State, list[str]] = {}
    for one in facts:
        state = at_last(outcome_of(record, one), replays_of(record, one)).state
        found.setdefault(state, []).append(one.consumer)
    return [(state, found[state]) for state in MARKS if state in found]


def at_last(outcome: Outcome, replays: Sequence[Replayed]) -> Outcome:
    """The outcome that counts, of a record and its replays: a dead letter that is not settled, else the
    last."""
    return outcome if outcome.state == "dead" or not replays else replays[-1].outcome
