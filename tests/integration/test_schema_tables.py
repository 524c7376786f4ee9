"""The tables of `dingbridge schema ddl --for postgres` keep what is published, for every type."""

import json
from datetime import datetime
from typing import Any

import asyncpg

from dingbridge.events import catalogue
from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.columns import Column, row_of
from dingbridge.schema.ddl import ddl
from tests.support.flat_rows import ABSENT, records_of, value_at


def as_sent(column: Column, value: Any) -> Any:
    """As a sink gives it to the database: JSON as text, times as times."""
    if column.time:
        return datetime.fromisoformat(value)
    shape = column.shape
    if shape.type in ("object", "any") or (
        shape.type == "array" and (shape.items is None or shape.items.type in ("object", "any"))
    ):
        return json.dumps(value)
    return value


async def kept(database: asyncpg.Connection, spec: EventSpec) -> int:
    """Write the type's recorded records, and compare what is read again."""
    await database.execute(ddl(spec, "postgres", "t", "b:1"))
    columns = row_of(spec).columns
    records = records_of(spec.event_type)
    for record in records:
        values = {
            f'"{column.name.lower()}"': as_sent(column, value)
            for column in columns
            if (value := value_at(record, column.path)) is not ABSENT
        }
        marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        statement = f'INSERT INTO "{spec.event_type}" ({", ".join(values)}) VALUES ({marks})'
        for _ in "twice":  # a record may come again
            await database.execute(f"{statement} ON CONFLICT (source, id) DO NOTHING", *values.values())
    rows = {(row["source"], row["id"]): row for row in await database.fetch(f'TABLE "{spec.event_type}"')}
    assert len(rows) == len(records)
    for record in records:
        row = rows[record["source"], record["id"]]
        for column in columns:
            value = value_at(record, column.path)
            expected = None if value is ABSENT else as_sent(column, value)
            found = row[column.name.lower()]
            if isinstance(expected, str) and isinstance(found, str) and found != expected:
                assert json.loads(found) == json.loads(expected), (spec.event_type, column.path)
            else:
                assert found == expected, (spec.event_type, column.path)
    return len(records)


async def test_a_table_of_every_type_keeps_every_recorded_field_once(postgres_url: str) -> None:
    database = await asyncpg.connect(postgres_url)
    try:
        counts = [await kept(database, spec) for spec in catalogue.values()]
    finally:
        await database.close()
    assert sum(counts) >= len(counts) == len(catalogue)
