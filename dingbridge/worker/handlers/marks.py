"""The marks that ``on`` leaves at a method, and how a consumer's class finds its handlers by them.

Not responsible for what ``on`` takes (``on.py``), or for when a handler runs (``executor.py``).
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Protocol

from typing_extensions import TypeVar

from dingbridge.events.catalogue import EVENT_TYPE_RE
from dingbridge.events.envelope import TYPE_PREFIX
from dingbridge.events.event import Event
from dingbridge.worker.context import Context
from dingbridge.worker.store.transaction import Transaction

Handler = Callable[[Event, Transaction, Any], Coroutine[Any, Any, None]]
Prepare = Callable[[Event, Context], Coroutine[Any, Any, Any]]

Self_ = TypeVar("Self_")
Prepared_ = TypeVar("Prepared_", default=Any)
Given_ = TypeVar("Given_", default=Any, covariant=True)
Data_ = TypeVar("Data_", bound=Mapping[str, Any], covariant=True)
DataIn_ = TypeVar("DataIn_", bound=Mapping[str, Any])

Prepares = Callable[[Any, Event[DataIn_], Context], Coroutine[Any, Any, Prepared_]]
"""A method that ``on`` takes as ``prepare``."""

CLASS_WIDE = "prepare"
"""The method that prepares for a handler unless its ``on`` names another."""
_MARK = "_dingbridge_handles"


@dataclass(frozen=True, slots=True)
class Marked:
    """A handler and what prepares for it, by their methods' names; ``prepare`` is None for nothing."""

    handler: str
    prepare: str | None = CLASS_WIDE


class Handles(Protocol[Data_, Given_]):
    """Decorates a handler that takes events whose ``data`` is ``Data_``, and what its ``prepare`` returns."""

    def __call__(
        self, handler: Callable[[Self_, Event[Data_], Transaction, Given_], Coroutine[Any, Any, None]], /
    ) -> Callable[[Self_, Event[Any], Transaction, Any], Coroutine[Any, Any, None]]: ...


def mark(handler: FunctionType, event_type: str, prepare: str | None) -> None:
    """Note at ``handler`` that it handles ``event_type``, and the name of what prepares for it."""
    setattr(handler, _MARK, ((event_type, prepare), *getattr(handler, _MARK, ())))


def is_event_type(event_type: str) -> bool:
    """Whether this is a name of DingTalk's, and not the ``type`` of another sender's CloudEvent: such a one
    has a dot in it."""
    return EVENT_TYPE_RE.fullmatch(event_type) is not None


def handlers_of(cls: type) -> dict[str, Marked]:
    """The handlers by what they handle, in the order in which they are written.

    A class's own handler replaces that of a base class. Raises ``ValueError`` for two in one class.
    """
    found: dict[str, Marked] = {}
    for base in reversed(cls.__mro__):
        own: dict[str, Marked] = {}
        for name, value in vars(base).items():
            for event_type, prepare in getattr(value, _MARK, ()) if isinstance(value, FunctionType) else ():
                if event_type in own:
                    raise ValueError(
                        f"{cls.__qualname__} has two handlers for {event_type}: {own[event_type].handler} "
                        f"and {name}"
                    )
                own[event_type] = Marked(name, prepare)
        found |= own
    return found


def bound_handlers(consumer: object, class_wide: Prepare | None) -> dict[str, tuple[Prepare | None, Handler]]:
    """What prepares for an event (``class_wide`` unless ``on`` says otherwise) and what handles it, by the
    CloudEvents ``type`` of the event. By that, since in a control topic another sender may call an event of
    its own ``user_add_org``."""
    bound: dict[str, tuple[Prepare | None, Handler]] = {}
    for event_type, marked in handlers_of(type(consumer)).items():
        type_ = TYPE_PREFIX + event_type if is_event_type(event_type) else event_type
        prepare = class_wide
        if marked.prepare != CLASS_WIDE:
            prepare = None if marked.prepare is None else getattr(consumer, marked.prepare)
        bound[type_] = (prepare, getattr(consumer, marked.handler))
    return bound
