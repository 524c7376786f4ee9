"""The tables of `dingbridge schema ddl --for clickhouse`, in an embedded ClickHouse (PyPI's ``chdb``)."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dingbridge.events import catalogue
from dingbridge.schema.columns import Column, row_of
from dingbridge.schema.ddl import ddl
from tests.scale.clickhouse import ClickHouse, quoted
from tests.support.flat_rows import ABSENT, records_of, value_at

TYPE = "bpms_instance_change"
Json = dict[str, Any]


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[ClickHouse]:
    with ClickHouse(tmp_path) as engine:
        yield engine


def statements(event_type: str, topic: str, bootstrap: str) -> list[str]:
    """Table, queue, reader."""
    return [
        part
        for part in ddl(catalogue[event_type], "clickhouse", topic, bootstrap).split(";\n")
        if part.strip()
    ]


def expected(column: Column, record: Json) -> Any:
    value = value_at(record, column.path)
    if value is ABSENT:
        return [] if column.shape.type == "array" else None
    return datetime.fromisoformat(value).replace(tzinfo=None) if column.time else value


def found(column: Column, row: Json) -> Any:
    value = row[column.name]
    if value is not None and column.time:
        return datetime.fromisoformat(value)
    if value is not None and column.shape.type in ("object", "any"):
        return json.loads(value)
    if column.shape.type == "array" and (column.shape.items is None or column.shape.items.type == "object"):
        return [json.loads(entry) for entry in value]
    return value


def test_every_types_table_keeps_every_recorded_field_once(clickhouse: ClickHouse) -> None:
    for event_type in catalogue:
        table, _, reader = statements(event_type, "t", "b:1")
        clickhouse.run(table)
        # the queue with Kafka's own column, filled by hand
        clickhouse.run(f"CREATE TABLE `{event_type}_queue` (record String, _error String) ENGINE = Memory")
        clickhouse.run(reader)
        records = records_of(event_type)
        values = ", ".join(f"({quoted(json.dumps(record))}, '')" for record in [*records, *records])
        clickhouse.run(f"INSERT INTO `{event_type}_queue` VALUES {values}")
        rows = clickhouse.rows(f"SELECT * FROM `{event_type}` FINAL")
        by_id = {(row["source"], row["id"]): row for row in rows}
        assert len(rows) == len(records), event_type
        spec = catalogue.get(event_type)
        assert spec is not None
        for record in records:
            row = by_id[record["source"], record["id"]]
            for column in row_of(spec).columns:
                assert found(column, row) == expected(column, record), (event_type, column.path)


def test_values_of_another_type_stop_nothing(clickhouse: ClickHouse) -> None:
    table, _, reader = statements(TYPE, "t", "b:1")
    clickhouse.run(table)
    clickhouse.run(f"CREATE TABLE `{TYPE}_queue` (record String, _error String) ENGINE = Memory")
    clickhouse.run(reader)
    record = records_of(TYPE)[0]
    odd: list[Any] = [None, True, 5, "text", [1], {"a": 1}]
    for number, value in enumerate(odd):
        messy = {**record, "id": str(number), "data": dict.fromkeys(record["data"], value)}
        messy["time"] = value
        clickhouse.run(f"INSERT INTO `{TYPE}_queue` VALUES ({quoted(json.dumps(messy))}, '')")
    for text in ("[]", "{}", "no JSON", '{"id": "x"}'):
        clickhouse.run(f"INSERT INTO `{TYPE}_queue` VALUES ({quoted(text)}, '')")
    rows = clickhouse.rows(f"SELECT id, data_createTime FROM `{TYPE}` FINAL ORDER BY id")
    assert [row["id"] for row in rows] == [str(number) for number in range(len(odd))]
    assert [row["data_createTime"] for row in rows][2:4] == [5, None]


def test_the_queue_is_one_of_kafka(clickhouse: ClickHouse) -> None:
    """As far as this can be tried: the embedded ClickHouse knows Kafka's engine, and runs no consumer."""
    _, queue, _ = statements(TYPE, "t", "127.0.0.1:1")
    with pytest.raises(AssertionError, match="Shutdown was called"):
        clickhouse.run(queue)  # after it has read statement and settings
    for fault in (queue.replace("kafka_format", "kafka_formats"), queue.replace("Kafka", "Kafkas")):
        with pytest.raises(AssertionError, match="UNKNOWN_"):
            clickhouse.run(fault.replace(f"{TYPE}_queue", "other"))
