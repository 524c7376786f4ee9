"""Records beside the columns that a table of theirs has."""

import json
from typing import Any

from dev.schemas.files import EXAMPLES
from dingbridge.testing.recordings import recorded

ABSENT = object()


def records_of(event_type: str) -> list[dict[str, Any]]:
    """What is published for the recorded callbacks of a type."""
    return [json.loads(record.value) for record in recorded(EXAMPLES / f"{event_type}.json")]


def value_at(record: Any, path: tuple[str, ...]) -> Any:
    """The value in a record at a column's path; ``ABSENT`` where there is none."""
    for name in path:
        if not isinstance(record, dict) or name not in record:
            return ABSENT
        record = record[name]
    return record
