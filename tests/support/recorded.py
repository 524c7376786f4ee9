"""The records that are published for the recorded callbacks in ``schemas/examples``."""

import json
from typing import Any

from dev.schemas.files import EXAMPLES
from dingbridge.testing.recordings import recorded


def records_of(event_type: str) -> list[dict[str, Any]]:
    """What is published for the recorded callbacks of a type."""
    return [json.loads(record.value) for record in recorded(EXAMPLES / f"{event_type}.json")]
