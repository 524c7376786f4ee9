"""When an answer of DingTalk's about one entity is believed, and when the entity is read next. Pure.

DingTalk's documentation does not promise that a read shows the reported change. So an answer that
contradicts the event is asked for again after 2, 10 and 60 s (``dingbridge/snapshots/late_answers.py``).
DingTalk may be minutes late, and another of its servers may be later still. So each entity that an event
names is read once more after an hour, whatever was answered until then. Somebody whom the tables have, whom
DingTalk does not know, and whose leaving no event reported, is believed to be gone after an hour. A leaver
whom DingTalk still shows, and a new employee whom it does not show yet, are asked for again after 1, 6 and 24
hours.
"""

from dataclasses import dataclass
from typing import Final, Literal

from dingbridge.snapshots.late_answers import ABSENT_AGAIN_S, HOURS_AGAIN_S, LOOK_AGAIN_S, Said

Reported = Said
"""What an event reports of its entity: it is there now, it is gone, or something about it has changed."""

State = Literal["missing", "waits", "confirmed", "refused", "withheld"]
"""``missing``: the tables have the entity, and DingTalk does not; not believed yet. ``waits``: the same,
beyond the limit of leavers. ``confirmed``: a person said that this one left. ``refused``: DingTalk gives no
answer about this one. ``withheld``: its last answer lacks fields that the tables have and keep."""

SETTLES_S: Final = sum(LOOK_AGAIN_S)
"""How long, in s, an answer may still be older than an event, or than an answer that was read for one."""

READS_AT_ONCE: Final = 1 + len(LOOK_AGAIN_S)
"""At most so many reads follow an event within ``SETTLES_S``."""

LAST_READ_S: Final = ABSENT_AGAIN_S - SETTLES_S
"""How long after that, in s, an entity is read for the last time."""

_MISSING_S: Final[tuple[float, ...]] = (*LOOK_AGAIN_S, ABSENT_AGAIN_S)
_HOURS_S: Final[tuple[float, ...]] = (*LOOK_AGAIN_S, *HOURS_AGAIN_S)


@dataclass(frozen=True, slots=True)
class Decision:
    """``write``: the answer is believed. ``again_s``: how long to wait, in s, before the next read; None:
    this one was the last."""

    write: bool
    again_s: float | None


def decide(reported: Reported | None, reads: int, *, exists: bool, here: bool) -> Decision:
    """Decide after read number ``reads`` since the event (or, without one, since the entity was missing).
    ``exists``: DingTalk has the entity; ``here``: so have the tables."""
    if exists:
        contradicts, delays = reported == "absent", _HOURS_S
        write = not contradicts or reads > len(LOOK_AGAIN_S)
    else:
        # Invariant 9: without an event of leaving, "no such user" is believed an hour later
        contradicts = reported in ("present", "changed") or (reported is None and here)
        delays = _HOURS_S if reported == "present" else _MISSING_S
        write = reported == "absent" or reads > len(_MISSING_S)
    return Decision(write, delays[reads - 1] if contradicts and reads <= len(delays) else None)


def agreed(reported: Reported | None, *, changed: bool, settled: bool) -> bool:
    """Return whether an answer that does not contradict the event certainly includes it. ``changed``: it
    differed from the tables; ``settled``: no other event of the entity came a moment ago, whose change it
    may show instead."""
    return reported is None or (settled and (changed or reported != "changed"))


def disagreed_again_s(reads: int, open_s: float | None) -> float | None:
    """Return how long to wait, in s, after read number ``reads`` where no answer agreed with the event; None:
    until the last. ``open_s``: the same for what an answer left open otherwise (``Written.again_s``)."""
    waits = [*LOOK_AGAIN_S[reads - 1 : reads], *([] if open_s is None else [open_s])]
    return min(waits, default=None)


def next_ms(began_ms: int, again_ms: int | None, settles_ms: int) -> int | None:
    """Return when to read next, epoch ms: at ``again_ms``, but once at the end of the hour for the entity of
    an event. ``settles_ms``: ``SETTLES_S`` after the last read that was for the event."""
    last_ms = settles_ms + round(LAST_READ_S * 1000)
    return again_ms if began_ms >= last_ms else min(again_ms or last_ms, last_ms)
