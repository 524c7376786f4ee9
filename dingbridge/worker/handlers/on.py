"""The decorator ``on``: which method of a consumer handles which type of event."""

import inspect
from functools import cache
from types import FunctionType
from typing import Any, Final, overload

from dingbridge.events.catalogue import catalogue, class_name
from dingbridge.worker.handlers.marks import CLASS_WIDE, DataIn_, Handles, Prepared_, Prepares, mark

PAYLOADS: Final = "dingbridge.generated.payloads"
"""The module with a class for each EventType of the catalogue. It is not imported here: it is large."""


@overload
def on(
    event: type[DataIn_], /, *, prepare: Prepares[DataIn_, Prepared_] | None = ...
) -> Handles[DataIn_, Prepared_]: ...
@overload
def on(event: str, /, *, prepare: Prepares[Any, Prepared_] | None = ...) -> Handles[Any, Prepared_]: ...
def on(event: Any, /, *, prepare: Any = CLASS_WIDE) -> Any:
    """Make a method of a ``Consumer`` the handler of one type of event; it has the arguments of ``handle``.

    ``event`` is a class of ``dingbridge.generated.payloads``. The handler is annotated with it, as
    ``event: Event[UserAddOrg]``, and a type checker compares the two. ``event: Event`` is right for every
    type, and knows nothing of its fields.

    ``event`` may also be a name, and a type checker then compares nothing. It is for an EventType that is
    newer than this version, and for the CloudEvents ``type`` of another sender, which has a dot in it.

    ``prepare`` is the method (event, ctx) that runs before the handler, in place of the class's ``prepare``;
    the handler gets its result. It is an ``async def`` that stands above. None: nothing runs before, and the
    handler gets None. Several ``on`` may stand above one another.

    Raises ``TypeError`` for another class or value, and for a method that is not ``async``.
    """
    event_type = _event_type(event)
    if prepare is not None and prepare != CLASS_WIDE:
        if not inspect.iscoroutinefunction(prepare):
            given = getattr(prepare, "__qualname__", repr(prepare))
            raise TypeError(
                f"@on({_shown(event)}, prepare=…) needs a method of the class that stands above it, an "
                f"`async def` of event and ctx, or None; {given} is not"
            )
        prepare = prepare.__name__

    def decorate(handler: FunctionType) -> FunctionType:
        if not inspect.iscoroutinefunction(handler):
            raise TypeError(f"{handler.__qualname__} is decorated with on, and is no `async def`")
        mark(handler, event_type, prepare)
        return handler

    return decorate


def _event_type(event: Any) -> str:
    """The EventType of a class of ``dingbridge.generated.payloads``; a name stays as it is."""
    if isinstance(event, str) and event:
        return event
    name = getattr(event, "__name__", "")
    if getattr(event, "__module__", "") == PAYLOADS and name in _event_types():
        return _event_types()[name]
    raise TypeError(
        f"on needs the class of an EventType, as @on(UserAddOrg) with `from {PAYLOADS} import UserAddOrg`, "
        f'or a name, as @on("com.example.order"); it got {_shown(event)}'
    )


@cache
def _event_types() -> dict[str, str]:
    """The EventTypes of the catalogue by the names of their classes."""
    return {class_name(event_type): event_type for event_type in catalogue}


def _shown(event: Any) -> str:
    return event.__qualname__ if isinstance(event, type) else repr(event)
