"""A consumer by the file that it is in, ``path/to/file.py:Class``, so that its author need not install it."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

from dingbridge.worker.consumer import Consumer
from dingbridge.worker.registry import GROUP, Family, UnknownConsumer, class_of, load_consumer, load_entry


def load(name: str) -> type[Consumer]:
    """The class of the installed consumer ``name``, or of ``path/to/file.py:Class``, whose module is imported
    from the first folder above that is no package. Raises ``UnknownConsumer``, and of a family
    ``SettingsError``."""
    if ".py:" not in name:
        return load_consumer(name)
    path, _, attribute = name.rpartition(":")
    file = Path(path).resolve()
    if not file.is_file():
        raise UnknownConsumer(f"there is no file {file}")
    parts, folder = [] if file.stem == "__init__" else [file.stem], file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    sys.path.insert(0, str(folder))
    point = EntryPoint(name, f"{'.'.join(parts)}:{attribute}", GROUP)
    loaded = load_entry(point)
    if isinstance(loaded, Family):
        raise UnknownConsumer(f"{name} declares several consumers, which are found when they are installed")
    return class_of(getattr(loaded, "name", name), point, loaded)
