"""A record as one flat row: which columns there are, for tools that know tables only.

Responsible for names and shapes. Not responsible for a dialect of SQL (``ddl``).

The names are those that Kafka Connect's sinks make: the path, joined by ``_``. Databases ignore case
in names, and PostgreSQL keeps 63 bytes of one: a field whose column would be another's has none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.json_schema import envelope_schema
from dingbridge.schema.model import Property, Shape, model_of, together

SEPARATOR: Final = "_"
MAX_BYTES: Final = 63

NOT_IN_ROWS: Final = frozenset({"specversion", "datacontenttype", "data_base64", "fault"})
"""Attributes that are the same in each record, or of no use in a table."""


@dataclass(frozen=True, slots=True)
class Column:
    """``path`` is where the value stands in the record; ``time`` says that it is a time in RFC 3339.
    ``required`` ones are in every record: of ``data`` nothing is, since DingTalk promises nothing."""

    name: str
    path: tuple[str, ...]
    shape: Shape
    required: bool
    time: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """``left_out`` are the fields (paths, joined by dots) that have no column."""

    columns: tuple[Column, ...]
    left_out: tuple[str, ...]


def row_of(*specs: EventSpec) -> Row:
    """The columns of this type's records, or of these types' in one table: the envelope's, then those of
    ``data``. A list of objects, and an object of which nothing is known, is one column (of JSON)."""
    data = together(*(model_of(spec).properties for spec in specs))
    taken: dict[str, Column] = {}
    left_out = []
    for column in (*_envelope(), *_of(data, ("data",))):
        if len(column.name.encode()) > MAX_BYTES or column.name.lower() in taken:
            left_out.append(".".join(column.path))
        else:
            taken[column.name.lower()] = column
    return Row(tuple(taken.values()), tuple(left_out))


def _envelope() -> Iterator[Column]:
    schema = envelope_schema()
    for name, attribute in schema["properties"].items():
        if name not in NOT_IN_ROWS and name != "data":
            is_time = attribute.get("format") == "date-time"
            yield Column(name, (name,), Shape("string"), name in schema["required"], is_time)


def _of(properties: Sequence[Property], path: tuple[str, ...]) -> Iterator[Column]:
    for found in properties:
        here = (*path, found.name)
        if found.shape.properties and found.shape.type == "object":
            yield from _of(found.shape.properties, here)
        else:
            yield Column(SEPARATOR.join(here), here, found.shape, False)
