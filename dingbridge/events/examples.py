"""Recorded callbacks of each EventType, as data: ``schemas/examples/<EventType>.json``.

They are what the simulator sends, or what DingTalk documents where the simulator does not know the type.
"""

import json
from importlib.resources import files
from typing import Any

from dingbridge.events.catalogue import legal


def example_callbacks(event_type: str) -> list[dict[str, Any]]:
    """Callbacks of ``event_type`` in DingTalk's spelling, in the order in which they came.

    Raises ``KeyError`` for a type of which there are none.
    """
    path = files("dingbridge").joinpath(f"schemas/examples/{event_type}.json")
    if not legal(event_type) or not path.is_file():
        raise KeyError(event_type)
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found
