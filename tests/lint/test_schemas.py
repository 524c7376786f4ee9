"""What is committed is what the catalogue says; schemas are written so that every tool reads them."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dev.schemas import files
from dev.schemas.contract import asyncapi
from dev.schemas.files import ROOT, examples, specs
from dev.schemas.json_schema import DIALECTS, data_schema, record_schema
from dev.schemas.outbound import EXAMPLES, example, schemas
from dingbridge.consumers.outbound.forms import MODELS
from dingbridge.events import catalogue
from dingbridge.events.catalogue import class_name
from dingbridge.events.envelope import urn
from dingbridge.schema.model import MAX_INTEGER
from dingbridge.settings import KafkaSettings
from dingbridge.testing import recorded
from tests.support.cases import of_each
from tests.support.sizes import sized
from tests.unit.events.golden import load_all, load_captured

FOLDERS = {"draft-07": ROOT / "schemas/json", "2020-12": ROOT / "schemas/json-2020-12"}


VALIDATORS = {"draft-07": jsonschema.Draft7Validator, "2020-12": jsonschema.Draft202012Validator}


SCHEMA_KEYS = {"items", "additionalProperties", "not", "if", "then", "else", "contains"}


def schema_of(event_type: str) -> dict[str, Any]:
    spec = catalogue.get(event_type)
    assert spec is not None
    return record_schema(spec)


WRITTEN: dict[str, Any] = {
    **{event_type: schema_of(event_type) for event_type in catalogue},
    **{f"outbound {name}": schema for name, schema in schemas().items()},
}


def inside(schema: Any) -> Iterator[dict[str, Any]]:
    """This schema and all that are in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, value in schema.items():
        if key == "properties":
            for inner in value.values():
                yield from inside(inner)
        elif key in ("anyOf", "oneOf", "allOf"):
            for inner in value:
                yield from inside(inner)
        elif key in SCHEMA_KEYS:
            yield from inside(value)


TEXTS = cache(files.texts)


def test_what_is_committed_is_what_would_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "texts", TEXTS)
    assert files.stale() == [], "run python -m dev.schemas"


def test_a_file_that_was_changed_removed_or_left_over_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(files, "texts", TEXTS)
    files.write()
    assert files.stale() == []
    one, other, left_over = (f"schemas/json/{name}.json" for name in ("org_change", "check_in", "old_type"))
    (tmp_path / one).write_text("{}\n")
    (tmp_path / other).unlink()
    (tmp_path / left_over).write_text("{}\n")
    assert files.stale() == sorted([one, other, left_over])
    assert files.write() == sorted([one, other, left_over])
    assert files.stale() == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_schemas_are_valid_in_their_dialect(dialect: str) -> None:
    paths = sorted(FOLDERS[dialect].glob("*.json"))
    assert {path.stem for path in paths} == {*catalogue, "envelope"}
    for path in paths[:: sized(1, 1, quick=8)]:
        schema = json.loads(path.read_text("utf-8"))
        assert schema["$schema"] == DIALECTS[dialect]
        VALIDATORS[dialect].check_schema(schema)


def test_the_two_dialects_say_the_same_and_only_the_newer_has_an_id() -> None:
    ids = set()
    for path in FOLDERS["draft-07"].glob("*.json"):
        older, newer = (json.loads((folder / path.name).read_text("utf-8")) for folder in FOLDERS.values())
        ids.add(newer.pop("$id"))
        assert older | {"$schema": ""} == newer | {"$schema": ""}
    assert len(ids) == len(catalogue) + 1
    assert "urn:dingbridge:bpms_instance_change:1" in ids


@of_each(WRITTEN)
def test_what_tools_need_is_there(name: str) -> None:
    for schema in inside(WRITTEN[name]):
        assert not {"$ref", "$defs", "definitions", "$id", "$schema"} & schema.keys()
        assert ("title" in schema) == (schema.get("type") == "object"), schema
        assert "type" in schema or not {"const", "enum"} & schema.keys(), schema
        if schema.get("type") == "integer":
            assert schema["maximum"] == MAX_INTEGER == 9007199254740991
            assert schema["minimum"] in (0, -MAX_INTEGER)


@of_each(WRITTEN)
def test_no_generator_makes_one_field_of_two(name: str) -> None:
    """jsonschema2pojo refuses a type with ``CorpId`` and ``corpId``; go-jsonschema numbers them."""
    for schema in inside(WRITTEN[name]):
        fields = schema.get("properties", {})
        in_java = [of.get("javaName", class_name(field)) for field, of in fields.items()]
        in_go = [
            of.get("goJSONSchema", {}).get("identifier", class_name(field)) for field, of in fields.items()
        ]
        assert len(set(in_java)) == len(set(in_go)) == len(fields), fields.keys()


def test_titles_are_class_names_and_each_names_one_thing() -> None:
    owners: dict[str, set[str]] = {}
    for event_type in catalogue:
        spec = catalogue.get(event_type)
        assert spec is not None
        titles = [schema["title"] for schema in inside(data_schema(spec)) if "title" in schema]
        assert titles[0] == class_name(event_type)
        assert len(titles) == len(set(titles))
        assert all(title.isidentifier() and title[0].isupper() for title in titles)
        for title in titles:
            owners.setdefault(title, set()).add(event_type)
    assert [title for title, of in owners.items() if len(of) > 1] == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_examples_are_valid(dialect: str) -> None:
    """None of AsyncAPI's tools looks at them."""
    faults = []
    of_envelope = VALIDATORS[dialect](json.loads((FOLDERS[dialect] / "envelope.json").read_text("utf-8")))
    for event_type in catalogue:
        of_data = VALIDATORS[dialect](
            json.loads((FOLDERS[dialect] / f"{event_type}.json").read_text("utf-8"))
        )
        of_record = VALIDATORS[dialect](schema_of(event_type))
        records = recorded(ROOT / "schemas/examples" / f"{event_type}.json")
        assert records
        for value in (json.loads(record.value) for record in records):
            faults += [*of_envelope.iter_errors(value), *of_record.iter_errors(value)]
            faults += of_data.iter_errors(value["data"])
    assert [f"{fault.json_path}: {fault.message}" for fault in faults] == []


def test_recorded_events_of_both_generations_are_valid() -> None:
    of_envelope = jsonschema.Draft7Validator(json.loads((FOLDERS["draft-07"] / "envelope.json").read_text()))
    forms = set()
    for golden in load_all() + load_captured():
        for record in golden.document["after"]:
            of_envelope.validate(record["value"])
            if record["known"]:
                jsonschema.Draft7Validator(schema_of(record["topic"])).validate(record["value"])
            forms.add(record["value"]["form"])
    assert forms == {"old", "new", "unknown"}


@of_each(EXAMPLES)
def test_examples_of_outbound_messages_are_valid(name: str) -> None:
    jsonschema.Draft202012Validator(WRITTEN[f"outbound {name}"]).validate(example(name))
    jsonschema.Draft7Validator(WRITTEN[f"outbound {name}"]).validate(example(name))


# -- The AsyncAPI document holds every topic, and what it shows is what the bridge publishes


PATH = ROOT / "schemas" / "asyncapi.json"


@cache
def published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
    return found


def messages() -> Iterator[tuple[str, dict[str, Any]]]:
    for channel in published()["channels"].values():
        yield from channel["messages"].items()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(reference: str) -> Any:
    place: Any = published()
    for part in reference.removeprefix("#/").split("/"):
        place = place[part]
    return place


def test_every_topic_is_there_under_its_name() -> None:
    channels = published()["channels"]
    assert channels.keys() == {*catalogue, "unclassified", "outbound", "outbound-results", "changes"}
    settings = KafkaSettings.model_construct()
    for name, channel in channels.items():
        of_events = name in catalogue or name == "unclassified"
        prefix = settings.topic_prefix if of_events else settings.control_prefix
        assert channel["address"] == prefix + name == channel["bindings"]["kafka"]["topic"]
    assert channels["outbound"]["messages"].keys() == MODELS.keys()


def test_every_channel_has_its_operation_and_every_reference_leads_somewhere() -> None:
    operations = published()["operations"].values()
    assert {operation["channel"]["$ref"] for operation in operations} == {
        f"#/channels/{name}" for name in published()["channels"]
    }
    assert [operation["action"] for operation in operations].count("receive") == 1
    for reference in references(published()):
        assert resolved(reference), reference
    with pytest.raises(KeyError):
        resolved("#/channels/no_such_type")


def test_payloads_are_inline_and_in_the_dialect_that_asyncapis_tools_know() -> None:
    for number, (name, message) in enumerate(messages()):
        assert "schemaFormat" not in message, name  # then it is AsyncAPI's own, a superset of draft-07
        if number % sized(1, 1, quick=8) == 0:
            jsonschema.Draft7Validator.check_schema(message["payload"])
        assert not [*references(message["payload"])]
        assert "$schema" not in json.dumps(message["payload"])
    spec = catalogue.get("user_add_org")
    assert spec is not None
    channel = published()["channels"]["user_add_org"]
    assert channel["messages"]["user_add_org"]["payload"] == record_schema(spec)


def test_every_example_is_valid_and_every_message_has_one() -> None:
    shown = 0
    for name, message in messages():
        of_payload = jsonschema.Draft7Validator(message["payload"])
        of_headers = jsonschema.Draft7Validator(message.get("headers", {}))
        assert message.get("examples"), name
        for shown_one in message.get("examples", ()):
            of_payload.validate(shown_one["payload"])
            if "headers" in shown_one:
                of_headers.validate(shown_one["headers"])
            shown += 1
    assert shown >= len(catalogue)


def test_the_defaults_do_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPIC_PREFIX", "other.")
    monkeypatch.setenv("TOPIC_RETENTION_DAYS", "3")
    assert asyncapi(specs(), examples()) == published()


def test_versions_that_a_type_has_left_are_kept() -> None:
    for spec in specs():
        for version in range(1, spec.version):
            kept = json.loads((ROOT / f"schemas/earlier/{spec.event_type}.{version}.json").read_bytes())
            assert kept["$id"] == urn(spec.event_type, version)
