"""The AsyncAPI document holds every topic, and what it shows is what the bridge publishes.

That AsyncAPI's own parser takes it is seen in ``make test-contract``; it does not look at examples.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest

from dev.schemas.asyncapi import document
from dev.schemas.contract import asyncapi
from dev.schemas.files import ROOT, examples, specs
from dingbridge.consumers.outbound.forms import MODELS
from dingbridge.contract_routes import Installation
from dingbridge.events import catalogue
from dingbridge.schema.json_schema import record_schema
from dingbridge.settings import KafkaSettings
from tests.support.sizes import sized

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
        for example in message.get("examples", ()):
            of_payload.validate(example["payload"])
            if "headers" in example:
                of_headers.validate(example["headers"])
            shown += 1
    assert shown >= len(catalogue)


def test_the_defaults_do_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPIC_PREFIX", "other.")
    monkeypatch.setenv("TOPIC_RETENTION_DAYS", "3")
    assert asyncapi(specs(), examples()) == published()


def test_an_installation_has_its_own_names() -> None:
    made = document(specs(), {}, (), Installation("a.", "b.", "kafka.example.com:9093"))
    assert made["channels"]["check_in"]["address"] == "a.check_in"
    assert made["servers"]["kafka"]["host"] == "kafka.example.com:9093"
    assert "topicConfiguration" not in made["channels"]["check_in"]["bindings"]["kafka"]
