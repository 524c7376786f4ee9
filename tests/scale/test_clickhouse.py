"""examples/scale/tables/clickhouse.sql, in an embedded ClickHouse (PyPI's ``chdb``)."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dev.schemas.files import ROOT
from dingbridge.events import catalogue
from tests.scale.clickhouse import ClickHouse, quoted
from tests.support.recorded import records_of

TABLE, QUEUE, READER = (
    (ROOT / "examples/scale/tables/clickhouse.sql").read_text(encoding="utf-8").split(";\n")[:3]
)


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[ClickHouse]:
    """With Kafka's queue filled by hand."""
    with ClickHouse(tmp_path) as engine:
        engine.run(TABLE)
        engine.run("CREATE TABLE events_queue (record String, _error String) ENGINE = Memory")
        engine.run(READER)
        yield engine


def fill(clickhouse: ClickHouse, *texts: str) -> None:
    values = ", ".join(f"({quoted(text)}, '')" for text in texts)
    clickhouse.run(f"INSERT INTO events_queue VALUES {values}")


def test_the_table_keeps_every_recorded_record_once(clickhouse: ClickHouse) -> None:
    records = [record for event_type in catalogue for record in records_of(event_type)]
    for _ in "twice":
        fill(clickhouse, *map(json.dumps, records))
    rows = {(row["source"], row["id"]): row for row in clickhouse.rows("SELECT * FROM events FINAL")}
    assert rows.keys() == {(record["source"], record["id"]) for record in records}
    for record in records:
        row = rows[record["source"], record["id"]]
        assert (row["type"], row["subject"]) == (record["type"], record.get("subject", ""))
        assert json.loads(row["data"]) == record["data"]
        assert datetime.fromisoformat(row["time"]) == datetime.fromisoformat(record["time"]).replace(
            tzinfo=None
        )


def test_values_of_another_type_stop_nothing(clickhouse: ClickHouse) -> None:
    record = records_of("bpms_instance_change")[0]
    odd: list[Any] = [None, True, 5, "text", [1], {"a": 1}]
    for number, value in enumerate(odd):
        fill(clickhouse, json.dumps({**record, "id": str(number), "data": value, "time": value}))
    fill(clickhouse, "[]", "{}", "no JSON", '{"id": "x"}')
    rows = clickhouse.rows("SELECT id, data FROM events FINAL ORDER BY id")
    assert [row["id"] for row in rows] == [str(number) for number in range(len(odd))]
    assert [json.loads(row["data"]) for row in rows] == odd


def test_the_queue_is_one_of_kafka(tmp_path: Path) -> None:
    """As far as this can be tried: the embedded ClickHouse knows Kafka's engine, and runs no consumer."""
    queue = QUEUE.replace("localhost:9092", "127.0.0.1:1")
    with ClickHouse(tmp_path) as clickhouse:
        with pytest.raises(AssertionError, match="Shutdown was called"):
            clickhouse.run(queue)  # after it has read statement and settings
        for fault in (queue.replace("kafka_format", "kafka_formats"), queue.replace("= Kafka", "= Kafkas")):
            with pytest.raises(AssertionError, match="UNKNOWN_"):
                clickhouse.run(fault.replace("events_queue", "other"))
