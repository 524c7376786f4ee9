"""``dingbridge/generated/payloads.py``: the ``data`` of each EventType as a ``TypedDict``, for authors."""

import keyword
from collections.abc import Generator, Iterator

from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.model import JsonType, Property, Shape, class_name, model_of

HEAD = '''"""What ``data`` holds, by EventType. Made by ``python -m dev.schemas``; do not edit.

A key that is ``NotRequired`` is absent from some callbacks. Real callbacks may hold more than this, and less:
they are not checked. What each key means is in ``docs/reference/catalogue``.
"""

from typing import Any, NotRequired, TypedDict
'''

WIDTH = 111
"""Of a line and its end, as ``pyproject.toml`` has it."""

_PYTHON: dict[JsonType, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "any": "Any",
}


def text(specs: list[EventSpec]) -> str:
    """The module's source."""
    parts = [HEAD]
    for spec in specs:
        model = model_of(spec)
        name = class_name(spec.event_type)
        words = f"``{spec.event_type}``: {spec.title.en}.\n\n    {spec.title.zh}\n    {spec.page}\n"
        doc = f'    """{words}    """\n'
        parts += _classes(name, model.properties, doc)
    return "\n\n".join(parts)


def _classes(name: str, properties: tuple[Property, ...], doc: str = "") -> Iterator[str]:
    """The class of an object, after those of the objects in it."""
    fields = {}
    for found in properties:
        annotation = yield from _annotation(name + class_name(found.name), found.shape)
        fields[found.name] = annotation if found.required else f"NotRequired[{annotation}]"
    if all(field.isidentifier() and not keyword.iskeyword(field) for field in fields):
        lines = [_line(field, annotation) for field, annotation in fields.items()]
        yield f"class {name}(TypedDict):\n" + doc + ("\n" if doc and lines else "") + "".join(lines)
    else:  # a field called ``pass``
        lines = [f'        "{field}": {annotation},\n' for field, annotation in fields.items()]
        yield f'{name} = TypedDict(\n    "{name}",\n    {{\n' + "".join(lines) + "    },\n)\n"


def _line(field: str, annotation: str) -> str:
    line = f"    {field}: {annotation}\n"
    if len(line) <= WIDTH:
        return line
    inner = annotation.removeprefix("NotRequired[").removesuffix("]")
    return f"    {field}: NotRequired[\n        {inner}\n    ]\n"  # as ruff would write it


def _annotation(name: str, shape: Shape) -> Generator[str, None, str]:
    """Yields the classes that a value's type needs, and returns the type."""
    if shape.type == "object":
        if not shape.properties:
            return "dict[str, Any]"
        yield from _classes(name, shape.properties)
        return name
    if shape.type == "array":
        inner = "Any"
        if shape.items is not None:
            inner = yield from _annotation(f"{name}Item", shape.items)
        return f"list[{inner}]"
    return _PYTHON[shape.type]
