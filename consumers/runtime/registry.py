"""Finds consumers by name: they announce themselves by the entry point group ``dingbridge.consumers``, in
this project or in any other that is installed beside it."""

from importlib.metadata import EntryPoint, entry_points

import structlog

from bridge.errors import BridgeError
from consumers.runtime.consumer import Consumer

log = structlog.get_logger(__name__)

GROUP = "dingbridge.consumers"


class UnknownConsumer(BridgeError):
    """No installed consumer has this name, or it cannot be loaded."""

    exit_code = 2


def known_consumers() -> dict[str, type[Consumer]]:
    """The installed consumers by name. One that cannot be imported is left out, and said in the log."""
    consumers = {}
    for name in sorted(_found()):
        try:
            consumers[name] = load_consumer(name)
        except UnknownConsumer as error:
            log.warning("consumer.not_loaded", consumer=name, reason=str(error))
    return consumers


def load_consumer(name: str) -> type[Consumer]:
    """The class of consumer ``name``. Raises ``UnknownConsumer``, naming those that are known."""
    found = _found()
    if name not in found:
        names = ", ".join(sorted(found)) or "none"
        raise UnknownConsumer(
            f"there is no consumer {name!r}; known: {names}. One of your own is found by an entry point in "
            f'the group "{GROUP}" of an installed package'
        )
    point = found[name]
    try:
        loaded = point.load()
    except Exception as error:
        raise UnknownConsumer(
            f"consumer {name!r} ({point.value}) cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Consumer)):
        raise UnknownConsumer(f"consumer {name!r} ({point.value}) is not a subclass of Consumer")
    if getattr(loaded, "name", None) != name:
        raise UnknownConsumer(
            f"consumer {name!r} ({point.value}) calls itself {getattr(loaded, 'name', None)!r}; entry point "
            "and name must be the same"
        )
    return loaded


def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
