"""Giving up lost callbacks for good, when an operator has looked at them: ``dingbridge journal discard``.

Only what is parked as damaged or missing can be given up: all else is still whole, and waits for Kafka. The
cursor's file has one writer, so the publisher of the folder does it; here is how it is asked, and what it
then does.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import apsw
import structlog

from dingbridge.errors import BridgeError
from ingress.errors import JournalError
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.relay.process import PublisherProcess
from ingress.relay.refusals import LOST

log = structlog.get_logger(__name__)

Callback = tuple[str, int]
"""Journal and seq."""

_HIGHEST = (1 << 63) - 1
"""That SQLite can number."""
_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.05


def give_up(cursor: CursorFile, wanted: Collection[Callback]) -> int:
    """Forget those of ``wanted`` that are parked as lost. Returns how many callbacks; for the one writer
    of ``cursor``."""
    doomed = _lost(cursor, wanted)
    cursor.unpark(doomed)
    for journal, seq in sorted(given_up := {(p.journal, p.seq) for p in doomed}):
        log.warning("publisher.given_up", journal=journal, seq=seq)
    return len(given_up)


async def give_up_by(publishers: Mapping[Path, PublisherProcess], options: dict[str, object]) -> int:
    """The same by the ``publishers`` that run, each for its folder: ``{"callbacks": [[journal, seq], …]}``.
    Returns how many were theirs. Raises ``BridgeError``."""
    wanted = callbacks_of(options)
    return sum([await _ask(folder, publisher, wanted) for folder, publisher in publishers.items()])


async def _ask(folder: Path, publisher: PublisherProcess, wanted: Collection[Callback]) -> int:
    asked = await asyncio.to_thread(_look, folder, wanted)
    for journal, seq in asked:
        publisher.give_up(journal, seq)
    deadline = time.monotonic() + _WITHIN_S
    while asked and await asyncio.to_thread(_look, folder, wanted):
        if time.monotonic() > deadline:
            raise JournalError(
                f"the publisher of {folder.name} has not given them up within {_WITHIN_S:g} s; its log says "
                "why, try again"
            )
        await asyncio.sleep(_LOOK_EVERY_S)
    return len(asked)


def callbacks_of(options: dict[str, object]) -> list[Callback]:
    """What ``options`` ask for. Raises ``BridgeError``."""
    pairs = options.get("callbacks")
    if isinstance(pairs, list) and all(_is_callback(pair) for pair in pairs):
        return [(journal, seq) for journal, seq in pairs]
    raise BridgeError('callbacks must be a list of pairs of journal and seq, as [["cdb6443ff9503eef", 7]]')


def _is_callback(pair: object) -> bool:
    return isinstance(pair, list | tuple) and [type(part) for part in pair] == [str, int]


def _lost(cursor: CursorFile, wanted: Collection[Callback]) -> list[Parked]:
    # one by one: all that is parked may be a million
    known = (callback for callback in set(wanted) if 0 < callback[1] <= _HIGHEST)
    return [p for callback in known for p in cursor.parked_of(*callback) if p.reason in LOST]


def _look(folder: Path, wanted: Collection[Callback]) -> list[Callback]:
    try:
        cursor = CursorFile(folder, read_only=True)
        try:
            return sorted({(p.journal, p.seq) for p in _lost(cursor, wanted)})
        finally:
            cursor.close()
    except apsw.Error as error:
        raise JournalError(f"the cursor of {folder.name} cannot be read ({type(error).__name__})") from error
