"""``dingbridge/generated/on.pyi``: the types of the decorator ``on``, by each EventType's ``data``."""

from collections.abc import Iterable

from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.model import class_name

HEAD = """# Made by ``python -m dev.schemas``; do not edit.

from collections.abc import Mapping
from typing import Any, Literal, overload

from dingbridge.generated import payloads
from dingbridge.worker.handlers.marks import Handles, Prepared_, Prepares

"""

OVERLOAD = """@overload
def on(
    event_type: {event_type},
    /,
    *,
    prepare: Prepares[{data}, Prepared_] | None = ...,
) -> Handles[{data}, Prepared_]: ...
"""


def text(specs: Iterable[EventSpec]) -> str:
    """The stub's source."""
    known = (
        OVERLOAD.format(event_type=f'Literal["{s.event_type}"]', data=f"payloads.{class_name(s.event_type)}")
        for s in specs
    )
    return "".join([HEAD, *known, OVERLOAD.format(event_type="str", data="Mapping[str, Any]")])
