"""Tables for the records of every type: each field has its place, in names that the engine tells apart.

That the engines take them is shown on PostgreSQL (``tests/integration``), and on ClickHouse and Flink
(``make test-scale``).
"""

import re
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from dingbridge.cli.schema.command import app
from dingbridge.events import catalogue
from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.columns import MAX_BYTES, row_of
from dingbridge.schema.connect import connect_schema
from dingbridge.schema.ddl import Dialect, ddl
from dingbridge.schema.model import Property, model_of

CONNECT_TYPES = {
    "string": "text",
    "int64": "bigint",
    "double": "double precision",
    "boolean": "boolean",
    "io.debezium.time.ZonedTimestamp": "timestamptz",
}
SPECS = [*catalogue.values()]


def leaves(properties: tuple[Property, ...], *path: str) -> list[tuple[str, ...]]:
    found = []
    for one in properties:
        inner = one.shape.properties if one.shape.type == "object" else ()
        found += leaves(inner, *path, one.name) if inner else [(*path, one.name)]
    return found


def test_every_field_of_every_type_has_a_column_or_is_named_as_left_out() -> None:
    assert SPECS
    for spec in SPECS:
        row = row_of(spec)
        names = [column.name.lower() for column in row.columns]
        assert len(set(names)) == len(names), spec.event_type
        assert all(len(name.encode()) <= MAX_BYTES for name in names), spec.event_type
        for path in leaves(model_of(spec).properties, "data"):
            name = "_".join(path).lower()
            assert name in names or len(name) > MAX_BYTES, (spec.event_type, path)
            of_this_field = [column.path for column in row.columns if column.path == path]
            assert bool(of_this_field) is not (".".join(path) in row.left_out)


@pytest.mark.parametrize("dialect", get_args(Dialect))
def test_no_type_lacks_a_table(dialect: Dialect) -> None:
    for spec in SPECS:
        text = ddl(spec, dialect, f"dingtalk.{spec.event_type}", "kafka:9092")
        assert text.rstrip().endswith(";")
        for path in leaves(model_of(spec).properties, "data"):
            assert re.search(path[-1], text, re.IGNORECASE), (spec.event_type, path)


def test_a_quote_in_a_setting_ends_no_text() -> None:
    spec = SPECS[0]
    assert "'o''clock'" in ddl(spec, "flink", "o'clock", "kafka:9092")


def test_the_command_takes_topic_and_servers_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPIC_PREFIX", "oa.")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092")
    for dialect in ("flink", "clickhouse"):
        done = CliRunner().invoke(app, ["ddl", "--for", dialect, "user_add_org"])
        assert done.exit_code == 0
        assert "'oa.user_add_org'" in done.stdout
        assert "'one:9092,two:9092'" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["--for", "flink", "no_such_type"], ["--for", "oracle", "user_add_org"]]
)
def test_what_is_not_known_is_a_mistake_of_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["ddl", *arguments]).exit_code == 2


def connect_columns(fields: list[dict[str, Any]], *path: str) -> dict[str, str]:
    """Name and type of each column that a sink makes of Connect's schema."""
    found: dict[str, str] = {}
    for one in fields:
        here = (*path, one["field"])
        if one["type"] == "struct":
            found |= connect_columns(one["fields"], *here)
        else:
            is_list = one["type"] == "array"
            kind = one.get("name") or (one["items"] if is_list else one)["type"]
            found["_".join(here).lower()] = CONNECT_TYPES[kind] + ("[]" if is_list else "")
    return found


def test_a_table_of_postgres_has_every_column_that_connect_writes() -> None:
    for spec in SPECS:
        text = ddl(spec, "postgres", "t", "b:1")
        for name, kind in connect_columns(connect_schema([spec]).content["fields"]).items():
            assert re.search(rf'^    "{name}" {re.escape(kind)}( NOT NULL)?,$', text, re.MULTILINE), (
                spec.event_type,
                name,
                kind,
            )


def test_times_ids_lists_and_unknown_objects_have_the_types_that_keep_them() -> None:
    def text(event_type: str, dialect: Dialect) -> str:
        spec: EventSpec | None = catalogue.get(event_type)
        assert spec is not None
        return ddl(spec, dialect, "t", "b:1")

    assert '"data_deptid" text[]' in text("org_dept_create", "postgres")
    assert '"data_timestamp" bigint' in text("org_dept_create", "postgres")
    assert "`deptId` ARRAY<STRING>" in text("org_dept_create", "flink")
    assert "`data_deptId` Array(Nullable(String))" in text("org_dept_create", "clickhouse")
