"""The last 24 hours in steps of a quarter of an hour: events a second, freshness, dead letters that waited.

Rate and dead letters are counted in the index. Freshness is what consumers' listeners reported in each minute
in which the console ran: no topic has it, so a rebuild of the index loses it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dingbridge.console.index.store import Index

STEPS: Final = 96
STEP_S: Final = 900
_DAY_MS: Final = STEPS * STEP_S * 1000

_RATE = """
SELECT (published_ms - ?1) / ?2, count(*) FROM events WHERE published_ms >= ?1 AND published_ms < ?3
GROUP BY 1
"""
# a letter counts from the step in which it was given up, until the one in which it was first settled
_LETTERS = """
SELECT came, ended, count(*) FROM (
  SELECT max(0, (at_ms - ?1) / ?2) AS came, (
    SELECT (min(at_ms) - ?1) / ?2 FROM settled s
    WHERE s.topic = l.topic AND s.partition = l.partition AND s."offset" = l."offset"
  ) AS ended FROM letters l
) WHERE ended IS NULL OR ended >= 0 GROUP BY 1, 2
"""
_FRESHNESS = "SELECT (at_ms - ?1) / ?2, max(p99_s) FROM freshness WHERE at_ms >= ?1 AND at_ms < ?3 GROUP BY 1"


@dataclass(frozen=True, slots=True)
class Trend:
    """``STEPS`` values each, the last of the step that ``until`` (epoch s) ends. ``rate`` is events a second;
    ``freshness`` in s what 99 % of a minute's events took from receipt to handled, of the slowest consumer
    and minute; ``letters`` how many waited at the step's end. None where there is no figure."""

    until: float
    rate: tuple[float | None, ...]
    freshness: tuple[float | None, ...]
    letters: tuple[float | None, ...]


def trend(index: Index, until: float) -> Trend:
    """The 24 hours before ``until``, epoch s. Blocks for as long as the index takes to count a day. Raises
    ``BridgeError``."""
    until_ms = int(until * 1000)
    span = until_ms - _DAY_MS, STEP_S * 1000, until_ms
    with index.reading() as db:
        counts = dict(db.execute(_RATE, span))
        fresh = dict(db.execute(_FRESHNESS, span))
        change = [0] * (STEPS + 1)
        for came, ended, count in db.execute(_LETTERS, span[:2]):
            change[min(came, STEPS)] += count
            change[STEPS if ended is None else min(ended, STEPS)] -= count
    known = (index.floor_ms - span[0]) / span[1]  # in an earlier step events may have been left out
    letters = (sum(change[: step + 1]) for step in range(STEPS))
    return Trend(
        until,
        tuple(counts.get(step, 0) / STEP_S if step >= known else None for step in range(STEPS)),
        tuple(fresh.get(step) for step in range(STEPS)),
        tuple(map(float, letters)),
    )


def add_freshness(index: Index, at: float, p99_s: Mapping[str, float]) -> None:
    """Keep ``p99_s`` of each consumer in the minute before ``at``, epoch s, for a day. Blocks.
    Raises ``apsw.Error`` where the file cannot be written."""
    at_ms = int(at * 1000)
    with index.writing() as db:
        db.execute("DELETE FROM freshness WHERE at_ms < ?", (at_ms - _DAY_MS,))
        rows = ((at_ms, consumer, seconds) for consumer, seconds in p99_s.items())
        db.executemany("INSERT OR REPLACE INTO freshness VALUES (?, ?, ?)", rows)
