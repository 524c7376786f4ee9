"""The failed attempts of unfinished records, noted for the member of the group that gets the partition next:
in the metadata that Kafka keeps with a committed offset. Without a note of ours, attempts are counted from 0
again. Pure.
"""

import heapq
import json
from collections.abc import Iterable
from typing import Final, NamedTuple

MOST_NOTED: Final = 100
"""Records in one note, those with the most failures first: a broker takes 4,096 bytes of metadata
(``offset.metadata.max.bytes``)."""


class Attempts(NamedTuple):
    """Of one record: how many attempts failed, how many of them the record itself caused
    (``dingbridge/availability.py``), and since when (epoch s; 0: none)."""

    attempts: int
    own_failures: int
    own_since: int


def note(committable: int, failed: Iterable[tuple[int, Attempts]]) -> str:
    """The note of a partition, whose unfinished records have ``failed``, by offset; empty if none has."""
    most = heapq.nlargest(MOST_NOTED, failed, key=lambda one: one[1].attempts + one[1].own_failures)
    rows = [[offset - committable, *counts] for offset, counts in sorted(most)]
    return json.dumps(rows, separators=(",", ":")) if rows else ""


def read_note(committed: int, text: str) -> dict[int, Attempts]:
    """What ``note`` wrote beside the offset ``committed``, by the records' offsets; empty for other text."""
    try:
        rows = json.loads(text) if text else []
        return {committed + int(behind): Attempts(*map(int, counts)) for behind, *counts in rows}
    except (ValueError, TypeError, OverflowError, RecursionError):
        return {}
