"""The schemas for Kafka Connect say what the model says, in what a table has columns for."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dingbridge.cli.schema.command import app
from dingbridge.events.catalogue import EventSpec, catalogue
from dingbridge.schema.columns import MAX_BYTES
from dingbridge.schema.connect import connect_schema
from dingbridge.schema.model import model_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "scale" / "connect"
TABLES = {
    "approvals": ("bpms_instance_change",),
    "contacts": ("user_add_org", "user_modify_org", "user_leave_org"),
}
KINDS = {"string": "string", "integer": "int64", "number": "double", "boolean": "boolean", "array": "array"}


def spec(event_type: str) -> EventSpec:
    found = catalogue.get(event_type)
    assert found is not None
    return found


def columns(struct: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """What Connect's ``Flatten`` makes of it, with the lower case of PostgreSQL: column to field."""
    found: dict[str, dict[str, Any]] = {}
    for field in struct["fields"]:
        here = (*path, field["field"])
        inner = columns(field, here) if field["type"] == "struct" else {"_".join(here).lower(): field}
        assert found.keys().isdisjoint(inner), here
        found |= inner
    return found


@pytest.mark.parametrize("event_type", catalogue)
def test_each_field_has_a_column_of_its_type_or_is_named_as_left_out(event_type: str) -> None:
    schema = connect_schema([spec(event_type)])
    made = columns(schema.content)
    assert all(len(name) <= MAX_BYTES for name in made)
    for one in model_of(spec(event_type)).properties:
        name = f"data_{one.name}".lower()
        if f"data.{one.name}" in schema.left_out:
            continue
        if one.shape.type == "object":
            assert any(f"data.{one.name}." in path for path in schema.left_out) or any(
                column.startswith(f"{name}_") for column in made
            )
        else:
            assert (made[name]["type"], made[name]["optional"]) == (KINDS[one.shape.type], True)


def test_what_has_no_one_type_or_no_column_is_left_out() -> None:
    # of the third-party form of this event: beside data.userId, and a list of objects
    third_party = {"data.userid", "data.unionEmpExt.unionEmpMapList"}
    assert {"data.diffInfo", *third_party} <= set(connect_schema([spec("user_modify_org")]).left_out)
    assert "data.CorpId" in connect_schema([spec("bpms_instance_change")]).left_out  # beside data.corpId


def test_the_key_of_the_table_is_required() -> None:
    made = columns(connect_schema([spec("user_add_org")]).content)
    assert [made[name]["optional"] for name in ("source", "id", "subject")] == [False, False, True]


def test_types_of_one_table_have_the_fields_of_all() -> None:
    types = ("bpms_instance_change", "bpms_task_change")
    together = columns(connect_schema([spec(one) for one in types]).content)
    for one in types:
        assert columns(connect_schema([spec(one)]).content).keys() <= together.keys()


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


def test_the_command_knows_no_type_that_the_catalogue_has_not() -> None:
    result = CliRunner().invoke(app, ["connect", "user_ad_org"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "user_ad_org" in result.stderr
