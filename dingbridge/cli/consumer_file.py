"""A consumer by the file that it is in, ``path/to/file.py:Class``, so that its author need not install it."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

from dingbridge.worker.consumer import Consumer
from dingbridge.worker.registry import GROUP, Family, UnknownConsumer, class_of, load_consumer, load_entry


def load(name: str) -> type[Consumer]:
    """The class of the installed consumer ``name``, or of ``path/to/file.py:Class``. Raises
    ``UnknownConsumer``, and of a family ``SettingsError``."""
    if not is_file(name):
        return load_consumer(name)
    (module, folder), attribute = module_of(name), name.rpartition(":")[2]
    sys.path.insert(0, str(folder))
    point = EntryPoint(name, f"{module}:{attribute}", GROUP)
    loaded = load_entry(point)
    if isinstance(loaded, Family):
        raise UnknownConsumer(f"{name} declares several consumers, which are found when they are installed")
    return class_of(getattr(loaded, "name", name), point, loaded)


def is_file(name: str) -> bool:
    """Whether ``name`` is that of a file and a class in it."""
    return ".py:" in name


def module_of(name: str) -> tuple[str, Path]:
    """The module that the file of ``path/to/file.py:Class`` is, as ``billing.consumer``, and the folder from
    which it is imported: the first one above that is no package. Raises ``UnknownConsumer``."""
    file = Path(name.rpartition(":")[0]).resolve()
    if not file.is_file():
        raise UnknownConsumer(f"there is no file {file}")
    parts, folder = [] if file.stem == "__init__" else [file.stem], file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder
