"""Finds consumers by name: they announce themselves by the entry point group ``dingbridge.consumers``, in
this project or in any other that is installed beside it.

An entry point is one consumer, or a ``Family`` of them: then ``forward`` stands for ``forward-a`` and so on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import structlog

from dingbridge.error_location import error_location
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.worker.consumer import Consumer

log = structlog.get_logger(__name__)

GROUP = "dingbridge.consumers"


class UnknownConsumer(BridgeError):
    """No installed consumer has this name, or it cannot be loaded."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Family:
    """Consumers that settings declare. Their names begin with the entry point's and a ``-``.

    ``names`` lists them, none if nothing is declared. ``make`` gives the class of one, and for any other
    name, the entry point's own too, raises ``UnknownConsumer`` with the names that there are. Both raise
    ``SettingsError`` for settings that cannot work.
    """

    names: Callable[[], Sequence[str]]
    make: Callable[[str], type[Consumer]]


@dataclass(frozen=True, slots=True)
class Installed:
    """A consumer that is installed: its class, or in words why it cannot be loaded; ``package`` is the
    distribution that it comes from."""

    name: str
    package: str
    consumer: type[Consumer] | None = None
    problem: str | None = None


def installed_consumers(points: Iterable[EntryPoint] | None = None) -> list[Installed]:
    """All of them (of ``points``, if given) by name, also those that cannot be loaded. A family of which none
    is declared is absent."""
    found = []
    for point in sorted(_found().values() if points is None else points, key=lambda point: point.name):
        package = point.dist.name if point.dist is not None else point.value
        try:
            loaded = load_entry(point)
            names = loaded.names() if isinstance(loaded, Family) else [point.name]
            found += [Installed(name, package, class_of(name, point, loaded)) for name in names]
        except (UnknownConsumer, SettingsError) as error:
            found.append(Installed(point.name, package, problem=str(error)))
    return found


def known_consumers() -> dict[str, type[Consumer]]:
    """The installed consumers by name. One that cannot be loaded is left out, and logged."""
    consumers = {}
    for one in installed_consumers():
        if one.consumer is not None:
            consumers[one.name] = one.consumer
        else:
            log.warning("consumer.not_loaded", consumer=one.name, reason=one.problem)
    return consumers


def load_consumer(name: str) -> type[Consumer]:
    """The class of consumer ``name``. Raises ``UnknownConsumer``, naming those that are known, and of a
    family ``SettingsError``."""
    point = check_installed(name)
    loaded = load_entry(point)
    if name != point.name and not isinstance(loaded, Family):
        raise unknown(name)
    return class_of(name, point, loaded)


def check_installed(name: str) -> EntryPoint:
    """The entry point of consumer ``name``, which is not loaded. Raises ``UnknownConsumer``, naming those
    that are known."""
    found = _found()
    family = next((point for point in found.values() if name.startswith(f"{point.name}-")), None)
    if (point := found.get(name, family)) is None:
        raise unknown(name)
    return point


def unknown(name: str) -> UnknownConsumer:
    """The error for a consumer that is not installed, naming those that are."""
    names = ", ".join(sorted(_found())) or "none"
    return UnknownConsumer(
        f"there is no consumer {name!r}; known: {names}. One of your own is found by an entry point in "
        f'the group "{GROUP}" of an installed package, or given as path/to/file.py:Class'
    )


def load_entry(point: EntryPoint) -> object:
    """What ``point`` names. Raises ``UnknownConsumer`` for a module that cannot be imported."""
    try:
        return point.load()
    except Exception as error:
        raise UnknownConsumer(
            f"consumer {point.name!r} ({point.value}) cannot be imported ({error}; "
            f"{error_location(error, point.value.split('.')[0].partition(':')[0])})"
        ) from error


def class_of(name: str, point: EntryPoint, loaded: object) -> type[Consumer]:
    """``loaded``, which ``point`` names, as the consumer ``name``. Raises ``UnknownConsumer``."""
    if isinstance(loaded, Family):
        loaded = loaded.make(name)
    if not (isinstance(loaded, type) and issubclass(loaded, Consumer)):
        raise UnknownConsumer(f"consumer {name!r} ({point.value}) is not a subclass of Consumer")
    if not hasattr(loaded, "name"):
        raise UnknownConsumer(f"consumer {name!r} ({point.value}) has no name; set the class's `name`")
    if loaded.name != name:
        raise UnknownConsumer(
            f"consumer {name!r} ({point.value}) calls itself {loaded.name!r}; entry point "
            "and name must be the same"
        )
    return loaded


def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
