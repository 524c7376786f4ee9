"""The private listener serves the contract of this installation, and what ``dataschema`` names."""

import json
from collections.abc import AsyncIterator

import aiohttp
import jsonschema
import pytest
from prometheus_client import CollectorRegistry

from dev.schemas.files import ROOT
from dingbridge.contract_routes import contract_routes, schema_file
from dingbridge.events import catalogue
from dingbridge.health_server import AdminServer
from dingbridge.settings import KafkaSettings

SETTINGS = KafkaSettings.model_construct(
    topic_prefix="oa.", control_prefix="ctl.", kafka_bootstrap_servers="kafka:9093", topic_retention_days=3
)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async def ready() -> tuple[bool, dict[str, object]]:
        return True, {}

    routes = contract_routes(SETTINGS)
    server = AdminServer("127.0.0.1", 0, CollectorRegistry(), ready=ready, routes=routes)
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    await server.stop()


async def test_the_document_names_the_topics_of_this_installation(http: aiohttp.ClientSession) -> None:
    for _ in "twice":
        async with http.get("/asyncapi.json") as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            document = await answer.json()
    committed = json.loads((ROOT / "schemas/asyncapi.json").read_bytes())
    assert document["servers"]["kafka"]["host"] == "kafka:9093"
    assert document["channels"].keys() == committed["channels"].keys()
    for name, channel in document["channels"].items():
        control = committed["channels"][name]["address"].startswith("ctl-")
        binding = channel["bindings"]["kafka"]
        assert channel["address"] == binding["topic"] == ("ctl." if control else "oa.") + name
    day_ms = 24 * 3600 * 1000
    of_users = document["channels"]["user_add_org"]["bindings"]["kafka"]["topicConfiguration"]
    assert of_users["retention.ms"] == 3 * day_ms
    for name, channel in committed["channels"].items():  # nothing else is another
        document["channels"][name]["address"] = channel["address"]
        document["channels"][name]["bindings"] = channel["bindings"]
    document["servers"] = committed["servers"]
    assert document == committed


@pytest.mark.parametrize("name", ["user_add_org", "envelope", "outbound:result", "outbound:todo.desired"])
async def test_a_schema_is_served_as_one(http: aiohttp.ClientSession, name: str) -> None:
    async with http.get(f"/schemas/{name}/1") as answer:
        assert (answer.status, answer.content_type) == (200, "application/schema+json")
        schema = json.loads(await answer.read())
    assert schema["$id"] == f"urn:dingbridge:{name}:1"
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "path",
    [
        "user_add_org/2",
        "no_such_type/1",
        "outbound:..:..:catalogue/1",
        "..%2Fcatalogue/1",
        "user_add_org/x",
        "user_add_org/-1",
        f"{'x' * 300}/1",
        "outbound:/1",
    ],
)
async def test_what_is_not_there_is_not_found(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(f"/schemas/{path}") as answer:
        assert answer.status == 404


def test_versions_that_a_type_has_left_are_kept() -> None:
    for event_type in catalogue:
        spec = catalogue.get(event_type)
        assert spec is not None
        for version in range(1, spec.version + 1):
            assert schema_file(event_type, version) is not None, (
                f"schemas/earlier lacks {event_type} {version}"
            )
