"""Schemas for Kafka Connect: what its ``JsonConverter`` takes as ``schema.content`` to read our records.

Responsible for: the columns that a sink can make of a record, and which of its fields have none. Not
responsible for running Connect (``examples/scale/connect``).

Connect knows one type for each field, so what has no one type is left out, and so are lists of objects and
objects of unknown fields, for which a table has no column. It reports no fields that it does not know.
Everything in ``data`` is optional: a record that lacks a field is no broken one. A value of another type is
not found out by Connect: it reads a text as the number 0, and a number as no text.

Sources: KIP-1054 (``schema.content``) and Connect's ``JsonConverter``; the documents of Debezium's JDBC sink.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.columns import row_of
from dingbridge.schema.model import JsonType, Shape

_TYPES: Final[dict[JsonType, str]] = {
    "string": "string",
    "integer": "int64",
    "number": "double",
    "boolean": "boolean",
}
_TIME: Final = {"type": "string", "name": "io.debezium.time.ZonedTimestamp", "version": 1}
"""Text that is a time in RFC 3339: Debezium's sink makes it a ``timestamptz``."""


@dataclass(frozen=True, slots=True)
class ConnectSchema:
    """``content`` is the schema of a whole record, ``left_out`` the paths in it that have no column."""

    content: dict[str, Any]
    left_out: tuple[str, ...]


def connect_schema(specs: Sequence[EventSpec]) -> ConnectSchema:
    """The schema of records of these types together, as one table holds them."""
    row = row_of(*specs)
    content: dict[str, Any] = {"type": "struct", "optional": False, "fields": []}
    left_out = list(row.left_out)
    for column in row.columns:
        shape = _TIME if column.time else _leaf(column.shape)
        if shape is None:
            left_out.append(".".join(column.path))
            continue
        *owners, name = column.path
        _struct(content, owners)["fields"].append({**shape, "field": name, "optional": not column.required})
    return ConnectSchema(content, tuple(left_out))


def _struct(record: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The struct at ``path``, made if it is not there; ``data`` alone is in every record."""
    for name in path:
        found = next((one for one in record["fields"] if one["field"] == name), None)
        if found is None:
            found = {"type": "struct", "field": name, "optional": name != "data", "fields": []}
            record["fields"].append(found)
        record = found
    return record


def _leaf(shape: Shape) -> dict[str, Any] | None:
    """The type of a value that is no struct; ``None`` if Connect or a table has no such type."""
    if shape.type == "array":
        if shape.items is None or (entry := _TYPES.get(shape.items.type)) is None:
            return None
        return {"type": "array", "items": {"type": entry, "optional": True}}
    one = _TYPES.get(shape.type)
    return None if one is None else {"type": one}
