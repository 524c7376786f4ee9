"""The decorator ``on``. Its types, an overload for the ``data`` of each EventType, are in
``dingbridge/generated/on.pyi``."""

from typing import TYPE_CHECKING, Any

from dingbridge.worker.handlers.marks import CLASS_WIDE, handles

if TYPE_CHECKING:
    from dingbridge.generated.on import on as on
else:

    def on(event_type: str, /, *, prepare: Any = CLASS_WIDE) -> Any:
        """Make a method of a ``Consumer`` the handler of one EventType; it has the arguments of ``handle``.

        ``prepare`` is the method (event, ctx) that runs before it, in place of the class's ``prepare``, and
        whose result it is given; None: nothing runs, and it is given None. It is an ``async def`` that stands
        above.

        Annotate it with what ``data`` holds, as ``event: Event[UserAddOrg]``
        (``dingbridge.generated.payloads``), and the type checker compares the two. ``event: Event`` is right
        for every type, and knows nothing of its fields. Several ``on`` may stand above one another. A name
        with a dot in it is the CloudEvents ``type`` of another sender, as control topics hold them.

        Raises ``TypeError`` for a method that is not ``async``.
        """
        return handles(event_type, prepare)
