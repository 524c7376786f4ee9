"""``dingbridge/worker/handlers/on.py``: the decorator ``on``, with the type of each EventType's ``data``."""

from collections.abc import Iterable

from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.json_schema import class_name

HEAD = '''"""The decorator ``on``. Made by ``python -m dev.schemas``; do not edit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from dingbridge.worker.handlers.marks import Handles, handles

if TYPE_CHECKING:  # who has no handler that names one need not load them all
    from dingbridge.events import payloads
'''

OVERLOAD = """
@overload
def on(event_type: Literal["{event_type}"], /) -> "Handles[payloads.{data}]": ...
"""
WRAPPED = """
@overload
def on(
    event_type: Literal["{event_type}"], /
) -> "Handles[payloads.{data}]": ...
"""
WIDTH = 110
"""Characters in a line, as ``pyproject.toml`` has it."""

TAIL = '''
@overload
def on(event_type: str, /) -> Handles[Mapping[str, Any]]: ...


def on(event_type: str, /) -> Any:
    """Make a method of a ``Consumer`` the handler of one EventType; it has the arguments of ``handle``.

    Annotate it with what ``data`` holds, as ``event: Event[UserAddOrg]`` (``dingbridge.events.payloads``),
    and the type checker compares the two. ``event: Event`` is right for every type, and knows nothing of its
    fields. Several ``on`` may stand above one another. A name with a dot in it is the CloudEvents ``type``
    of another sender, as control topics hold them.

    Raises ``TypeError`` for a method that is not ``async``.
    """
    return handles(event_type)
'''


def text(specs: Iterable[EventSpec]) -> str:
    """The module's source."""
    return "\n".join([HEAD, *(_overload(spec.event_type) for spec in specs), TAIL])


def _overload(event_type: str) -> str:
    made = OVERLOAD.format(event_type=event_type, data=class_name(event_type))
    if max(map(len, made.splitlines())) <= WIDTH:
        return made
    return WRAPPED.format(event_type=event_type, data=class_name(event_type))
