"""``CREATE TABLE`` for those who read a topic with SQL: Flink, ClickHouse, PostgreSQL.

Responsible for text that the engine takes as it stands. Not responsible for running it, or for what fills a
table of PostgreSQL (``examples/scale/connect``).

A topic may hold a record twice (at least once), so every dialect has a way to drop repeats by ``(source,
id)``. DingTalk's payloads differ from its documents: the engines that read Kafka themselves convert a value
of another type, or read NULL, and go on.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.columns import Column, Row, row_of
from dingbridge.schema.model import JsonType, Property, Shape, model_of

Dialect = Literal["flink", "clickhouse", "postgres"]

_FLINK: Final[Mapping[JsonType, str]] = {"integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
_CLICKHOUSE: Final[Mapping[JsonType, str]] = {"integer": "Int64", "number": "Float64", "boolean": "Bool"}
_POSTGRES: Final[Mapping[JsonType, str]] = {
    "string": "text",
    "integer": "bigint",
    "number": "double precision",
    "boolean": "boolean",
}


def ddl(spec: EventSpec, dialect: Dialect, topic: str, bootstrap: str) -> str:
    """The statements, each ended by ``;``. ``topic`` and ``bootstrap`` (``host:port,…``) are for the engines
    that read Kafka themselves."""
    match dialect:
        case "flink":
            return _flink(spec, topic, bootstrap)
        case "clickhouse":
            return _clickhouse(spec, topic, bootstrap)
        case "postgres":
            return _postgres(spec)


def _flink(spec: EventSpec, topic: str, bootstrap: str) -> str:
    fields = [
        f"{_ticks(column.name)} {'TIMESTAMP_LTZ(3)' if column.time else 'STRING'}"
        for column in row_of(spec).columns
        if len(column.path) == 1
    ]
    fields.append(f"`data` {_row(model_of(spec).properties)}")
    name = _ticks(spec.event_type)
    options = {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": bootstrap,
        "scan.startup.mode": "earliest-offset",
        "format": "json",
        "json.timestamp-format.standard": "ISO-8601",
        "json.ignore-parse-errors": "true",
    }
    return f"""\
{_head(spec)}
-- What has another type than here is converted, or NULL if it cannot be; what is no JSON is left out.
CREATE TABLE {name} (
{_lines(fields)}
) WITH (
{_lines(f"{_text(option)} = {_text(value)}" for option, value in options.items())}
);

-- A record may come twice: each (source, id) once. State is kept for table.exec.state.ttl: set it to the
-- topic's retention or more.
CREATE VIEW {_ticks(spec.event_type + "_once")} AS
SELECT * FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY `source`, `id` ORDER BY `read_at`) AS `copy`
    FROM (SELECT *, PROCTIME() AS `read_at` FROM {name})
) WHERE `copy` = 1;
"""  # noqa: S608 printed, never run here; the catalogue's names are harmless


def _row(properties: tuple[Property, ...]) -> str:
    inner = ", ".join(f"{_ticks(found.name)} {_flink_type(found.shape)}" for found in properties)
    return f"ROW<{inner}>"


def _flink_type(shape: Shape) -> str:
    """Objects of unknown fields, and what has no one type, are their JSON text."""
    if shape.type == "object" and shape.properties:
        return _row(shape.properties)
    if shape.type == "array":
        return f"ARRAY<{_flink_type(shape.items or Shape('any'))}>"
    return _FLINK.get(shape.type, "STRING")


def _clickhouse(spec: EventSpec, topic: str, bootstrap: str) -> str:
    name = spec.event_type
    row = row_of(spec)
    fields = [f"{_ticks(column.name)} {_clickhouse_column(column)}" for column in row.columns]
    taken = [f"{_clickhouse_value(column)} AS {_ticks(column.name)}" for column in row.columns]
    return f"""\
{_head(spec)}{_left_out(row)}
-- A record may come twice: of each (source, id) one stays, in the end. SELECT … FINAL counts it once now.
CREATE TABLE {_ticks(name)} (
{_lines(fields)}
) ENGINE = ReplacingMergeTree
ORDER BY (`source`, `id`);

CREATE TABLE {_ticks(name + "_queue")} (`record` String) ENGINE = Kafka
SETTINGS
    kafka_broker_list = {_text(bootstrap)},
    kafka_topic_list = {_text(topic)},
    kafka_group_name = {_text("clickhouse-" + name)},
    kafka_format = 'JSONAsString',
    kafka_handle_error_mode = 'stream';

-- What has another type than here is converted, or NULL if it cannot be; what is no event is left out.
CREATE MATERIALIZED VIEW {_ticks(name + "_reader")} TO {_ticks(name)} AS
SELECT
{_lines(taken)}
FROM {_ticks(name + "_queue")}
WHERE empty(_error) AND JSONHas(`record`, 'source') AND JSONHas(`record`, 'id');
"""  # noqa: S608 printed, never run here; the catalogue's names are harmless


def _clickhouse_column(column: Column) -> str:
    if column.path in (("source",), ("id",)):
        return "String"
    if column.time:
        return "Nullable(DateTime64(3, 'UTC'))"
    return _clickhouse_type(column.shape)


def _clickhouse_type(shape: Shape) -> str:
    if shape.type == "array":
        return f"Array({_clickhouse_type(shape.items or Shape('any'))})"
    return f"Nullable({_CLICKHOUSE.get(shape.type, 'String')})"


def _clickhouse_value(column: Column) -> str:
    path = ", ".join(_text(part) for part in column.path)
    if column.time:
        return f"parseDateTime64BestEffortOrNull(JSONExtractString(`record`, {path}), 3, 'UTC')"
    if column.shape.type in ("object", "any"):
        return f"nullIf(JSONExtractRaw(`record`, {path}), '')"
    return f"JSONExtract(`record`, {path}, {_text(_clickhouse_column(column))})"


def _postgres(spec: EventSpec) -> str:
    row = row_of(spec)
    fields = [
        f"{_quoted(column.name.lower())} {_postgres_type(column)}{' NOT NULL' if column.required else ''}"
        for column in row.columns
    ]
    fields.append('PRIMARY KEY ("source", "id")')
    return f"""\
{_head(spec)}{_left_out(row)}
-- A record may come twice: write by upsert on (source, id), as Kafka Connect's sink does.
CREATE TABLE {_quoted(spec.event_type)} (
{_lines(fields)}
);
"""


def _postgres_type(column: Column) -> str:
    if column.time:
        return "timestamptz"
    shape = column.shape
    if shape.type == "array" and shape.items is not None and shape.items.type in _POSTGRES:
        return f"{_POSTGRES[shape.items.type]}[]"
    return _POSTGRES.get(shape.type, "jsonb")


def _head(spec: EventSpec) -> str:
    title = " · ".join(" ".join(words.split()) for words in spec.title)
    return f"-- {spec.event_type}: {title}"


def _left_out(row: Row) -> str:
    """Of the flat ones: what is not in the table."""
    return "".join(f"\n-- no column, since its name is taken or too long: {path}" for path in row.left_out)


def _lines(parts: Iterable[str]) -> str:
    return ",\n".join(f"    {part}" for part in parts)


def _ticks(name: str) -> str:
    return f"`{name}`"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
