"""What waits for a person, beyond listeners' figures: dead letters, and rows of outbound. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from dingbridge.console.line.part import State, Trouble
from dingbridge.console.line.window import Window

OUTBOUND: Final = "outbound"
_STATES: Final = ("conflict", "refused", "removal", "update", "adopted")
"""Those that wait for an operator. None of its requests does: their senders have the result."""
_LEVEL_RECORDS: Final = 2_000
"""With at most so many records to read the index counts as up to date: one batch of the feed."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """``dead_letters`` of each consumer: how many wait, and since when (epoch ms) the oldest does. ``unread``
    records of the topics are not in that count yet; None: not known. ``outbound`` is None where
    its tables cannot be read."""

    dead_letters: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    unread: int | None = 0
    outbound: Mapping[str, int] | None = None

    @property
    def is_known(self) -> bool:
        """Whether no more dead letters can wait than are counted, but for those of the last moment."""
        return self.unread is not None and self.unread <= _LEVEL_RECORDS


def of_consumer(name: str, waiting: Waiting, window: Window) -> Iterator[Trouble]:
    """What of ``name`` waits for a person; outbound's from its listener where its tables cannot be read."""
    count, oldest_ms = waiting.dead_letters.get(name, (0, 0))
    if count:
        new = int(window.grown("dingbridge_consumer_events_total", consumer=name, outcome="dead"))
        code, grown = ("dead_letters_new", {"new": min(new, count)}) if new else ("dead_letters", {})
        yield Trouble(State.DEGRADED, code, {"count": count} | grown, since=oldest_ms / 1000, waits=count)
    if name != OUTBOUND:
        return
    for state in _STATES:
        if waiting.outbound is None:
            left = int(window.most("dingbridge_outbound_entities", state=state) or 0)
        else:
            left = waiting.outbound.get(state, 0)
        if left:
            yield Trouble(State.DEGRADED, f"outbound_{state}", {"count": left}, waits=left)
