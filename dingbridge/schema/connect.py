"""Schemas for Kafka Connect: what its ``JsonConverter`` takes as ``schema.content`` to read our records.

Responsible for: the columns that a sink can make of a record, and which of its fields have none. Not
responsible for running Connect (``examples/scale/connect``).

Connect knows one type for each field, so what has no one type is left out, and so are lists of objects and
objects of unknown fields, for which a table has no column. It says nothing of fields that it does not know.
Everything in ``data`` is optional: a record that lacks a field is no broken one. A value of another type is
not found out by Connect: it reads a text as the number 0, and a number as no text.

Sources: KIP-1054 (``schema.content``) and Connect's ``JsonConverter``; the documents of Debezium's JDBC sink.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.json_schema import envelope_schema
from dingbridge.schema.model import JsonType, Property, Shape, model_of, union

SEPARATOR: Final = "_"
"""Between the names of a field and of the object that it is in: ``data_corpid``."""

MAX_COLUMN: Final = 63
"""Characters that PostgreSQL keeps of a column's name."""

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPES: Final[dict[JsonType, str]] = {
    "string": "string",
    "integer": "int64",
    "number": "double",
    "boolean": "boolean",
}
_NO_COLUMN: Final = frozenset({"specversion", "datacontenttype", "traceparent", "data_base64", "fault"})
"""Attributes that are the same in every record, or of no use in a table."""

_ZONED = {"type": "string", "name": "io.debezium.time.ZonedTimestamp", "version": 1}
"""Text that is a time in RFC 3339: Debezium's sink makes it a ``timestamptz``."""


@dataclass(frozen=True, slots=True)
class ConnectSchema:
    """``content`` is the schema of a whole record, ``left_out`` the paths in it that have no column."""

    content: dict[str, Any]
    left_out: tuple[str, ...]


def connect_schema(specs: Sequence[EventSpec]) -> ConnectSchema:
    """The schema of records of these types together, as one table holds them.

    Raises ``ValueError`` without any type.
    """
    if not specs:
        raise ValueError("a schema is of one type at least")
    taken: set[str] = set()
    left_out: list[str] = []
    fields = list(_envelope(taken))
    data = _fields(_together(specs), ("data",), taken, left_out)
    fields.append({"type": "struct", "field": "data", "optional": False, "fields": data})
    return ConnectSchema({"type": "struct", "optional": False, "fields": fields}, tuple(left_out))


def _envelope(taken: set[str]) -> Iterator[dict[str, Any]]:
    schema = envelope_schema()
    for name, attribute in schema["properties"].items():
        if name in _NO_COLUMN or attribute["type"] != "string":
            continue
        taken.add(name)
        shape = _ZONED if attribute.get("format") == "date-time" else {"type": "string"}
        yield {**shape, "field": name, "optional": name not in schema["required"]}


def _together(specs: Sequence[EventSpec]) -> tuple[Property, ...]:
    merged: dict[str, Property] = {}
    for spec in specs:
        for found in model_of(spec).properties:
            known = merged.get(found.name, found)
            merged[found.name] = replace(known, shape=union(known.shape, found.shape))
    return tuple(merged.values())


def _fields(
    properties: tuple[Property, ...], path: tuple[str, ...], taken: set[str], left_out: list[str]
) -> list[dict[str, Any]]:
    """Adds to ``taken`` the columns that come of it, in lower case as PostgreSQL has them, and to
    ``left_out`` what none can come of."""
    found = []
    for one in properties:
        here = (*path, one.name)
        column = SEPARATOR.join(here).lower()
        if one.shape.type == "object":
            if inner := _fields(one.shape.properties, here, taken, left_out):
                found.append({"type": "struct", "field": one.name, "optional": True, "fields": inner})
            elif not one.shape.properties:
                left_out.append(".".join(here))
            continue
        shape = _leaf(one.shape)
        usable = _COLUMN.fullmatch(column) is not None and len(column) <= MAX_COLUMN
        if shape is None or not usable or column in taken:
            left_out.append(".".join(here))
            continue
        taken.add(column)
        found.append({**shape, "field": one.name, "optional": True})
    return found


def _leaf(shape: Shape) -> dict[str, Any] | None:
    """The type of a value that is no object; ``None`` if Connect or a table has no such type."""
    if shape.type == "array":
        if shape.items is None or (entry := _TYPES.get(shape.items.type)) is None:
            return None
        return {"type": "array", "items": {"type": entry, "optional": True}}
    one = _TYPES.get(shape.type)
    return None if one is None else {"type": one}
