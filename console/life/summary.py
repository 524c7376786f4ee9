"""Where an event is now, and whose turn it is, from its last outcome at each consumer. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from dingbridge.console.life.brief import MARKS
from dingbridge.console.life.outcome import Outcome, State

Turn = Literal["operator", "start", "dependency", "consumer", "kafka", "unknown", "nobody"]
"""``operator``: somebody has to act. ``start``: somebody has to start the consumer. ``dependency``: of what
the consumer waits for. ``unknown``: the offset is committed, and no effect is found. ``nobody``: it is
done."""

_TURNS: Final[Mapping[State, Turn]] = {
    "dead": "operator",
    "paused": "dependency",
    "unknown": "kafka",
    "retrying": "consumer",
    "waiting": "consumer",
    "queued": "consumer",
    "running": "consumer",
    "passed": "unknown",
}
_ORDER: Final[tuple[Turn, ...]] = (
    *("operator", "start", "dependency", "consumer", "kafka", "unknown", "nobody"),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """``consumer`` is the one to name, and ``outcome`` its outcome; empty and None where no consumer reads
    the event. ``done`` of ``of`` consumers have finished with it."""

    turn: Turn
    consumer: str = ""
    outcome: Outcome | None = None
    done: int = 0
    of: int = 0


def summary_of(outcomes: Mapping[str, Outcome], absent: Collection[str] = ()) -> Summary:
    """``outcomes`` by consumer; of those that are ``absent`` no process is in its group."""
    turns = {name: _turn(outcome.state, name in absent) for name, outcome in outcomes.items()}
    states = list(MARKS)

    def rank(name: str) -> tuple[int, int, float]:
        outcome = outcomes[name]
        newest_first = -outcome.at.timestamp() if outcome.at else 0.0
        return _ORDER.index(turns[name]), states.index(outcome.state), newest_first

    if not outcomes:
        return Summary("nobody")
    first = min(outcomes, key=rank)
    done = sum(turn == "nobody" for turn in turns.values())
    return Summary(turns[first], first, outcomes[first], done, len(outcomes))


def _turn(state: State, is_absent: bool) -> Turn:
    turn = _TURNS.get(state, "nobody")
    return "start" if turn == "consumer" and is_absent else turn
