"""The decorator ``on``. Its types, with those of each EventType's ``data``, are in ``on.pyi``, made by
``python -m dev.schemas``."""

from typing import Any

from dingbridge.worker.handlers.marks import CLASS_WIDE, handles


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
