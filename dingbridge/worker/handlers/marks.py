"""What ``on`` does with a method, and how a consumer's class finds its handlers again.

Responsible for: which method handles which type of event. Not responsible for the types of ``data`` (``on``),
or for when a handler runs (``executor.py``).
"""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from types import FunctionType
from typing import Any, Protocol, TypeVar

from dingbridge.events.catalogue import EVENT_TYPE_RE
from dingbridge.events.envelope import TYPE_PREFIX
from dingbridge.events.event import Event
from dingbridge.worker.store.transaction import Transaction

Handler = Callable[[Event, Transaction, Any], Coroutine[Any, Any, None]]

Self_ = TypeVar("Self_")
Prepared_ = TypeVar("Prepared_")
Data_ = TypeVar("Data_", bound=Mapping[str, Any], covariant=True)

_MARK = "_dingbridge_handles"


class Handles(Protocol[Data_]):
    """Decorates a handler that takes events whose ``data`` is ``Data_``."""

    def __call__(
        self, handler: Callable[[Self_, Event[Data_], Transaction, Prepared_], Coroutine[Any, Any, None]], /
    ) -> Callable[[Self_, Event[Any], Transaction, Prepared_], Coroutine[Any, Any, None]]: ...


def handles(event_type: str) -> Any:
    """The decorator that marks a method as the handler of ``event_type``."""
    if not isinstance(event_type, str) or not event_type:
        raise TypeError(f'on needs an EventType, as @on("user_add_org"), and got {event_type!r}')

    def decorate(handler: FunctionType) -> FunctionType:
        if not inspect.iscoroutinefunction(handler):
            raise TypeError(f"{handler.__qualname__} is decorated with on, and is no `async def`")
        setattr(handler, _MARK, (event_type, *getattr(handler, _MARK, ())))
        return handler

    return decorate


def is_event_type(event_type: str) -> bool:
    """Whether this is a name of DingTalk's, and not the ``type`` of another sender's CloudEvent: such a one
    has a dot in it."""
    return EVENT_TYPE_RE.fullmatch(event_type) is not None


def handlers_of(cls: type) -> dict[str, str]:
    """The names of the methods by what they handle, in the order in which they are written.

    A class's own handler replaces that of a base class. Raises ``ValueError`` for two in one class.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        own: dict[str, str] = {}
        for name, value in vars(base).items():
            for event_type in getattr(value, _MARK, ()) if isinstance(value, FunctionType) else ():
                if event_type in own:
                    raise ValueError(
                        f"{cls.__qualname__} has two handlers for {event_type}: {own[event_type]} and {name}"
                    )
                own[event_type] = name
        found |= own
    return found


def bound_handlers(consumer: object) -> dict[str, Handler]:
    """The handlers of ``consumer`` by the CloudEvents ``type`` of the events that they take. By that, since
    in a control topic another sender may call an event of its own ``user_add_org``."""
    return {
        TYPE_PREFIX + event_type if is_event_type(event_type) else event_type: getattr(consumer, name)
        for event_type, name in handlers_of(type(consumer)).items()
    }
