"""AsyncAPI's own parser and meta-schema judge our document; faults that are planted show that they look.

Neither looks at examples, nor at payloads in another dialect than draft-07: ``tests/unit/schema`` does.
"""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import jsonschema
import pytest

from dingbridge.events import catalogue
from tests.contract.published import Published, asyncapi, payloads
from tests.contract.toolchain import JUDGES, ROOT, npm_install, run

Document = dict[str, Any]

SEVERE: Final = 1
"""0 is an error, 1 a warning; above are hints, as that 3.1 is the newest AsyncAPI."""


def small() -> Document:
    """The document with two channels alone: looking at the whole takes seconds."""
    document = copy.deepcopy(asyncapi())
    kept = ("check_in", "user_add_org")
    document["channels"] = {name: document["channels"][name] for name in kept}
    document["operations"] = {
        name: operation
        for name, operation in document["operations"].items()
        if operation["channel"]["$ref"].rpartition("/")[2] in kept
    }
    return document


def check_in(document: Document) -> Document:
    """A message of ``document``."""
    found: Document = document["channels"]["check_in"]["messages"]["check_in"]
    return found


def unknown_type(document: Document) -> None:
    check_in(document)["payload"]["properties"]["data"]["properties"]["timeStamp"]["type"] = "long"


def unknown_action(document: Document) -> None:
    next(iter(document["operations"].values()))["action"] = "publish"


def address_that_is_no_text(document: Document) -> None:
    document["channels"]["check_in"]["address"] = 7


def unknown_reference(document: Document) -> None:
    document["channels"]["check_in"]["messages"]["check_in"] = {"$ref": "#/components/messages/no_such"}


def other_dialect(document: Document) -> None:
    of_2020 = "application/schema+json;version=draft-2020-12"
    check_in(document)["payload"] = {"schemaFormat": of_2020, "schema": {"type": "nonsense"}}


PLANTED: Final = (unknown_type, unknown_action, address_that_is_no_text, unknown_reference, other_dialect)


def planted(plant: Callable[[Document], None]) -> Document:
    document = small()
    plant(document)
    return document


@pytest.fixture(scope="module")
def judged() -> Mapping[str, dict[str, Any]]:
    """What AsyncAPI's parser makes of the document, of the small one and of each with a fault."""
    npm_install(JUDGES)
    documents = {"whole": asyncapi(), "small": small(), **{p.__name__: planted(p) for p in PLANTED}}
    answers = json.loads(run(["node", "parse.mjs"], JUDGES, json.dumps([*documents.values()])))
    return dict(zip(documents, answers, strict=True))


@pytest.fixture(scope="module")
def meta_schema() -> jsonschema.Draft7Validator:
    npm_install(JUDGES)
    path = JUDGES / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
    return jsonschema.Draft7Validator(json.loads(path.read_text("utf-8")))


def severe(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [fault for fault in found["faults"] if fault["severity"] <= SEVERE]


def test_asyncapis_parser_takes_it_and_understands_every_payload(
    judged: Mapping[str, dict[str, Any]],
) -> None:
    found = judged["whole"]
    assert severe(found) == severe(judged["small"]) == []
    assert found["version"] == "3.0.0"
    channels = asyncapi()["channels"].values()
    assert sorted(found["addresses"]) == sorted(channel["address"] for channel in channels)
    assert {name: found["payloads"][name] for name in catalogue} == {
        name: schema["title"] for name, schema in payloads().items()
    }


def test_it_is_valid_by_asyncapis_meta_schema(meta_schema: jsonschema.Draft7Validator) -> None:
    assert [fault.json_path for fault in meta_schema.iter_errors(asyncapi())] == []


@pytest.mark.parametrize("plant", [unknown_type, unknown_action, address_that_is_no_text])
def test_both_judges_see_what_is_no_asyncapi(
    plant: Callable[[Document], None],
    judged: Mapping[str, dict[str, Any]],
    meta_schema: jsonschema.Draft7Validator,
) -> None:
    assert severe(judged[plant.__name__])
    assert not meta_schema.is_valid(planted(plant))


def test_an_unknown_reference_is_seen(judged: Mapping[str, dict[str, Any]]) -> None:
    """By the parser: the meta-schema does not follow references."""
    assert "invalid-ref" in {fault["code"] for fault in severe(judged["unknown_reference"])}


def test_a_payload_in_another_dialect_would_be_skipped(judged: Mapping[str, dict[str, Any]]) -> None:
    """Why payloads stand in the document's own dialect. When this fails, 2020-12 has become possible."""
    assert not [fault for fault in severe(judged["other_dialect"]) if "payload" in fault["path"]]


def faults_of(value: dict[str, Any], payload: Document) -> list[str]:
    found = jsonschema.Draft7Validator(payload).iter_errors(value)
    return [f"{fault.json_path}: {fault.message}" for fault in found]


def test_every_published_record_is_what_the_document_says(published: Published) -> None:
    seen = 0
    for name, payload in payloads().items():
        headers_schema = asyncapi()["channels"][name]["messages"][name]["headers"]
        for record, value in zip(published.records[name], published.values(name), strict=True):
            headers = {key: text.decode() for key, text in record.headers}
            assert faults_of(value, payload) + faults_of(headers, headers_schema) == [], name
            assert record.key == value["partitionkey"].encode()
            seen += 1
    assert seen >= len(catalogue)


def test_records_that_the_catalogue_does_not_know_have_the_envelope(published: Published) -> None:
    envelope = json.loads((ROOT / "schemas" / "json" / "envelope.json").read_text("utf-8"))
    assert published.records.keys() - set(catalogue) == {"type_of_tomorrow", "unclassified"}
    for name in ("type_of_tomorrow", "unclassified"):
        [value] = published.values(name)
        assert faults_of(value, envelope) == []


def test_a_retyped_field_is_seen_by_published_records(published: Published) -> None:
    payload = copy.deepcopy(payloads()["bpms_instance_change"])
    payload["properties"]["data"]["properties"]["createTime"]["type"] = "string"
    for value in published.values("bpms_instance_change"):
        [fault] = faults_of(value, payload)
        assert fault.startswith("$.data.createTime: ")
