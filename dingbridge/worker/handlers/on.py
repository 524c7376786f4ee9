"""placeholder"""

from collections.abc import Mapping
from typing import Any

from dingbridge.worker.handlers.marks import Handles, handles


def on(event_type: str, /) -> Handles[Mapping[str, Any]]:
    decorator: Handles[Mapping[str, Any]] = handles(event_type)
    return decorator
