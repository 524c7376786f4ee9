"""``dingbridge/worker/handlers/on.py``: the decorator ``on``, with the type of each EventType's ``data``."""

from collections.abc import Iterable

from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.json_schema import class_name

HEAD = '''"""The decorator ``on``. Made by ``python -m dev.schemas``; do not edit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from dingbridge.worker.handlers.marks import CLASS_WIDE, Handles, Prepared_, Prepares, handles

if TYPE_CHECKING:  # who has no handler that names one need not load them all
    from dingbridge.events import payloads
'''

OVERLOAD = """
@overload
def on(
    event_type: Literal["{event_type}"],
    /,
    *,
    prepare: "Prepares[payloads.{data}, Prepared_] | None" = ...,
) -> "Handles[payloads.{data}, Prepared_]": ...
"""

TAIL = '''
@overload
def on(
    event_type: str, /, *, prepare: Prepares[Mapping[str, Any], Prepared_] | None = ...
) -> Handles[Mapping[str, Any], Prepared_]: ...


def on(event_type: str, /, *, prepare: Any = CLASS_WIDE) -> Any:
    """Make a method of a ``Consumer`` the handler of one EventType; it has the arguments of ``handle``.

    ``prepare`` is the method (event, ctx) that runs before it, in place of the class's ``prepare``, and whose
    result it is given; None: nothing runs, and it is given None. It is an ``async def`` that stands above.

    Annotate it with what ``data`` holds, as ``event: Event[UserAddOrg]`` (``dingbridge.events.payloads``),
    and the type checker compares the two. ``event: Event`` is right for every type, and knows nothing of its
    fields. Several ``on`` may stand above one another. A name with a dot in it is the CloudEvents ``type``
    of another sender, as control topics hold them.

    Raises ``TypeError`` for a method that is not ``async``.
    """
    return handles(event_type, prepare)
'''


def text(specs: Iterable[EventSpec]) -> str:
    """The module's source."""
    overloads = (OVERLOAD.format(event_type=s.event_type, data=class_name(s.event_type)) for s in specs)
    return "\n".join([HEAD, *overloads, TAIL])
