"""Tables for the records of every type: each field has its place, in names that the engine tells apart.

That the engines take them is shown on PostgreSQL (``tests/integration``), and on ClickHouse and Flink
(``make test-scale``)."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from dingbridge.cli.schema.command import app
from dingbridge.events import catalogue
from dingbridge.events.catalogue import EventSpec, Form
from dingbridge.schema.columns import MAX_BYTES, row_of
from dingbridge.schema.connect import connect_schema
from dingbridge.schema.ddl import Dialect, ddl
from dingbridge.schema.model import Property, Shape, model_of, union

CONNECT_TYPES = {
    "string": "text",
    "int64": "bigint",
    "double": "double precision",
    "boolean": "boolean",
    "io.debezium.time.ZonedTimestamp": "timestamptz",
}


SPECS = [*catalogue.values()]


EXAMPLE = Path(__file__).parents[3] / "examples" / "scale" / "connect"


TABLES = {
    "approvals": ("bpms_instance_change",),
    "contacts": ("user_add_org", "user_modify_org", "user_leave_org"),
}


def spec(event_type: str) -> EventSpec:
    found = catalogue.get(event_type)
    assert found is not None
    return found


def leaves(properties: tuple[Property, ...], *path: str) -> list[tuple[str, ...]]:
    found = []
    for one in properties:
        inner = one.shape.properties if one.shape.type == "object" else ()
        found += leaves(inner, *path, one.name) if inner else [(*path, one.name)]
    return found


def test_every_field_of_every_type_has_a_column_or_is_named_as_left_out() -> None:
    assert SPECS
    for one in SPECS:
        row = row_of(one)
        names = [column.name.lower() for column in row.columns]
        assert len(set(names)) == len(names), one.event_type
        assert all(len(name.encode()) <= MAX_BYTES for name in names), one.event_type
        for path in leaves(model_of(one).properties, "data"):
            name = "_".join(path).lower()
            assert name in names or len(name) > MAX_BYTES, (one.event_type, path)
            of_this_field = [column.path for column in row.columns if column.path == path]
            assert bool(of_this_field) is not (".".join(path) in row.left_out)


@pytest.mark.parametrize("dialect", get_args(Dialect))
def test_no_type_lacks_a_table(dialect: Dialect) -> None:
    for one in SPECS:
        text = ddl(one, dialect, f"dingtalk.{one.event_type}", "kafka:9092")
        assert text.rstrip().endswith(";")
        for path in leaves(model_of(one).properties, "data"):
            assert re.search(path[-1], text, re.IGNORECASE), (one.event_type, path)


def test_a_quote_in_a_setting_ends_no_text() -> None:
    assert "'o''clock'" in ddl(SPECS[0], "flink", "o'clock", "kafka:9092")


def test_the_command_takes_topic_and_servers_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPIC_PREFIX", "oa.")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092")
    for dialect in ("flink", "clickhouse"):
        done = CliRunner().invoke(app, ["ddl", "--for", dialect, "user_add_org"])
        assert done.exit_code == 0
        assert "'oa.user_add_org'" in done.stdout
        assert "'one:9092,two:9092'" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    ["ddl --for flink no_such_type", "ddl --for oracle user_add_org", "connect user_ad_org"],
)
def test_what_is_not_known_is_a_mistake_of_usage(arguments: str) -> None:
    assert CliRunner().invoke(app, arguments.split()).exit_code == 2


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
    for one in SPECS:
        text, made = ddl(one, "postgres", "t", "b:1"), connect_schema([one])
        written = connect_columns(made.content["fields"])
        assert written.keys() == {
            column.name.lower()
            for column in row_of(one).columns
            if ".".join(column.path) not in made.left_out
        }
        for name, kind in written.items():
            line = rf'^    "{name}" {re.escape(kind)}( NOT NULL)?,$'
            assert re.search(line, text, re.MULTILINE), (one.event_type, name, kind)


def test_times_ids_lists_and_unknown_objects_have_the_types_that_keep_them() -> None:
    for event_type, dialect, column in (
        ("org_dept_create", "postgres", '"data_deptid" text[]'),
        ("org_dept_create", "postgres", '"data_timestamp" bigint'),
        ("org_dept_create", "flink", "`deptId` ARRAY<STRING>"),
        ("org_dept_create", "clickhouse", "`data_deptId` Array(Nullable(String))"),
    ):
        assert column in ddl(spec(event_type), dialect, "t", "b:1")  # type: ignore[arg-type]


def test_what_has_no_one_type_or_no_column_is_left_out() -> None:
    # of the third-party form of this event: beside data.userId, and a list of objects
    third_party = {"data.userid", "data.unionEmpExt.unionEmpMapList"}
    assert {"data.diffInfo", *third_party} <= set(connect_schema([spec("user_modify_org")]).left_out)
    assert "data.CorpId" in connect_schema([spec("bpms_instance_change")]).left_out  # beside data.corpId


def test_a_table_of_several_types_has_the_fields_of_all_and_requires_its_key() -> None:
    types = [spec("bpms_instance_change"), spec("bpms_task_change")]
    content = connect_schema(types).content
    together = connect_columns(content["fields"]).keys()
    assert all(connect_columns(connect_schema([one]).content["fields"]).keys() <= together for one in types)
    optional = {field["field"]: field["optional"] for field in content["fields"]}
    assert [optional[name] for name in ("source", "id", "subject")] == [False, False, True]


@pytest.mark.parametrize("table", TABLES)
def test_the_examples_schemas_are_not_stale(table: str) -> None:
    committed = json.loads((EXAMPLE / "schemas" / f"{table}.json").read_text(encoding="utf-8"))
    assert committed == connect_schema([spec(one) for one in TABLES[table]]).content
    connector = json.loads((EXAMPLE / f"{table}.json").read_text(encoding="utf-8"))
    assert connector["topics"] == ",".join(f"dingtalk.{one}" for one in TABLES[table])
    assert connector["value.converter.schema.content"] == f"${{directory:schemas:{table}.json}}"


def test_the_command_prints_the_schema_and_says_what_is_left_out() -> None:
    result = CliRunner().invoke(app, ["connect", "user_modify_org"])
    made = connect_schema([spec("user_modify_org")])
    assert json.loads(result.stdout) == made.content
    assert result.stderr.splitlines() == [f"left out: {path}" for path in made.left_out]


# -- What the model says of ``data`` is what normalising makes of a callback


def properties(event_type: str, form: Form | None = None) -> dict[str, Property]:
    spec = catalogue.get(event_type)
    assert spec is not None
    return {found.name: found for found in model_of(spec, form).properties}


def test_a_field_is_required_if_every_generation_has_it() -> None:
    found = properties("bpms_task_change")
    assert found["processInstanceId"].required
    assert not found["eventId"].required  # of today's generation alone
    assert not found["result"].required  # in both, and in both not always
    assert properties("bpms_task_change", "new")["eventId"].required


def test_of_two_spellings_of_one_name_both_are_known() -> None:
    """Approvals of today have ``CorpId`` and ``corpId``: the former stays as it came, beside the latter."""
    found = properties("bpms_instance_change", "new")
    assert (found["corpId"].required, found["CorpId"].required) == (True, False)


def test_what_is_below_the_top_level_is_as_it_was_sent() -> None:
    items = properties("edu_card_update")["body"].shape.properties
    assert {found.name: found.shape.type for found in items}["cardId"] == "integer"
    assert not any(found.required for found in items)


def test_a_form_that_a_type_does_not_have() -> None:
    with pytest.raises(KeyError):
        properties("suite_relieve", "new")


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Shape("string"), Shape("string"), Shape("string")),
        (Shape("string", "id"), Shape("string"), Shape("string")),
        (Shape("integer"), Shape("number"), Shape("number")),
        (Shape("integer", "ms"), Shape("string"), Shape("any")),
        (
            Shape("array", items=Shape("string")),
            Shape("array", items=Shape("integer")),
            Shape("array", items=Shape("any")),
        ),
    ],
)
def test_union(one: Shape, other: Shape, both: Shape) -> None:
    assert union(one, other) == both == union(other, one)
