"""The note that a member leaves with a committed offset, in the metadata that Kafka keeps beside it, for the
member that gets the partition next. Without a note of ours nothing is known. Pure but for the clock, which
turns times of this process into times that another understands.
"""

import heapq
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

MOST_NOTED: Final = 80
"""Records in one note, those with the most deaths and failures first: a broker takes 4,096 bytes of metadata
(``offset.metadata.max.bytes``)."""


@dataclass(slots=True)
class Trouble:
    """The failures of a record so far. Times are of ``time.monotonic``."""

    attempts: int = 0
    """Attempts that failed."""
    own_failures: int = 0
    """How often a dependency failed for this record while it worked for others."""
    own_since: float | None = None
    """When these failures began; time in which the dependency worked for no record is left out."""
    failed_at: float | None = None
    """When a dependency failed for it last."""
    failed_asking: frozenset[str] = frozenset()
    """The dependencies that this attempt had called."""
    outcome: str = ""
    """How its last attempt failed; empty before the first, and after a retry that made progress."""
    error: str = ""
    """Type and place of what that attempt raised."""
    deaths: int = 0
    """How often its process died while it ran alone (``careful``)."""


class Attempts(NamedTuple):
    """The failures of one record.

    ``attempts``: how many failed. ``own_failures``: how often a dependency failed for this record while it
    worked for others (``dingbridge/availability.py``), and ``own_since`` when that began (epoch s; 0: never).
    ``deaths``: how often its process died while the record ran alone.
    """

    attempts: int
    own_failures: int
    own_since: int
    deaths: int = 0

    @classmethod
    def of(cls, trouble: Trouble) -> "Attempts":
        own_since = 0
        if trouble.own_since is not None:
            own_since = int(time.time() - time.monotonic() + trouble.own_since)
        return cls(trouble.attempts, trouble.own_failures, own_since, trouble.deaths)

    def into(self, trouble: Trouble) -> None:
        """Go on with what is noted here."""
        trouble.attempts, trouble.own_failures, trouble.deaths = self.attempts, self.own_failures, self.deaths
        if self.own_since:
            trouble.own_since = time.monotonic() - time.time() + self.own_since


@dataclass(frozen=True, slots=True)
class Note:
    """What stands beside a committed offset.

    ``database`` is the id of the consumer's database and ``version`` that of the row there that says the same
    (``store/offsets.py``); empty and 0 without one. ``running_to``: a member works on the partition, and
    started no record from this offset on; None once it has handed the partition over. ``suspect_to``: the
    ``running_to`` of a member that ended without a handover, while not all below is finished. ``failed``:
    unfinished records by offset.
    """

    database: str = ""
    version: int = 0
    running_to: int | None = None
    suspect_to: int | None = None
    failed: Mapping[int, Attempts] = field(default_factory=dict)


NO_NOTE: Final = Note()


def write_note(committed: int, note: Note, failed: Iterable[tuple[int, Attempts]]) -> str:
    """The metadata beside the offset ``committed``: ``note`` with ``failed`` as its records; at most 4,096
    bytes, empty if there is nothing to note."""
    most = heapq.nlargest(
        MOST_NOTED, failed, key=lambda one: (one[1].deaths, one[1].attempts + one[1].own_failures)
    )
    fields: dict[str, Any] = {
        "db": note.database,
        "v": note.version,
        "to": note.running_to,
        "sus": note.suspect_to,
        "f": [[offset - committed, *attempts] for offset, attempts in sorted(most)],
    }
    kept = {name: value for name, value in fields.items() if value not in ("", 0, None, [])}
    return json.dumps(kept, separators=(",", ":")) if kept else ""


def read_note(committed: int, text: str) -> Note | None:
    """What ``write_note`` wrote beside the offset ``committed``; None for any other text."""
    try:
        fields = json.loads(text) if text else {}
        failed = {
            committed + int(behind): Attempts(*map(int, attempts))
            for behind, *attempts in fields.get("f", ())
        }
        return Note(
            database=str(fields.get("db", "")),
            version=int(fields.get("v", 0)),
            running_to=None if fields.get("to") is None else int(fields["to"]),
            suspect_to=None if fields.get("sus") is None else int(fields["sus"]),
            failed=failed,
        )
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
