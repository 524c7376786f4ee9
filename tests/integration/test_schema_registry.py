"""`dingbridge schema publish` against a server that answers as Confluent's reference says.

Against a real registry: ``tests/scale/test_registry.py``.
"""

import asyncio
import json
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dingbridge.events import catalogue
from dingbridge.schema.registry import Registry, RegistryUnavailable, subject_of
from tests.support.processes import Processes

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
NOBODY = "http://127.0.0.1:9"


class StandIn:
    """Subjects with their schemas and compatibility. ``refuse`` is a subject that takes no other schema."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[str]] = {}
        self.compatibility: dict[str, str] = {}
        self.refuse = ""
        self.password = ""
        self.url = ""
        self.app = web.Application(middlewares=[self.checked])
        self.app.add_routes(
            [
                web.post("/api/subjects/{subject}", self.look_up),
                web.post("/api/subjects/{subject}/versions", self.register),
                web.put("/api/config/{subject}", self.configure),
            ]
        )

    @web.middleware
    async def checked(self, request: web.Request, handler: Any) -> web.StreamResponse:
        wanted = b64encode(f"me:{self.password}".encode()).decode()
        if self.password and request.headers.get("Authorization") != f"Basic {wanted}":
            return self.fault(401, 40101, "Unauthorized")
        if request.content_type != MEDIA_TYPE:
            return self.fault(415, 415, "HTTP 415 Unsupported Media Type")
        response: web.StreamResponse = await handler(request)
        return response

    async def look_up(self, request: web.Request) -> web.Response:
        subject, schema = request.match_info["subject"], await self.schema(request)
        if subject not in self.subjects:
            return self.fault(404, 40401, f"Subject '{subject}' not found.")
        if schema not in self.subjects[subject]:
            return self.fault(404, 40403, "Schema not found")
        return web.json_response({"subject": subject, "id": 1, "version": 1, "schema": schema})

    async def register(self, request: web.Request) -> web.Response:
        subject, schema = request.match_info["subject"], await self.schema(request)
        if subject == self.refuse:
            return self.fault(409, 409, "Schema being registered is incompatible with an earlier schema")
        self.subjects.setdefault(subject, []).append(schema)
        return web.json_response({"id": 1})

    async def configure(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.compatibility[request.match_info["subject"]] = body["compatibility"]
        return web.json_response(body)

    async def schema(self, request: web.Request) -> str:
        body = await request.json()
        assert body["schemaType"] == "JSON"
        schema: str = body["schema"]
        jsonschema.Draft7Validator.check_schema(json.loads(schema))
        return schema

    def fault(self, status: int, code: int, message: str) -> web.Response:
        return web.json_response({"error_code": code, "message": message}, status=status)


@pytest.fixture
async def registry() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    server = TestServer(stand_in.app)
    await server.start_server()
    stand_in.url = str(server.make_url("/api"))
    try:
        yield stand_in
    finally:
        await server.close()


async def publish(
    processes: Processes, registry: StandIn, *arguments: str, **more: str
) -> subprocess.CompletedProcess[str]:
    env = {"SCHEMA_REGISTRY_URL": registry.url, **more}
    return await asyncio.to_thread(processes.run, "schema", "publish", "--json", *arguments, env=env)


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {one["subject"]: one["outcome"] for one in map(json.loads, done.stdout.splitlines())}


async def test_all_types_are_published_once_under_their_topics_names(
    processes: Processes, registry: StandIn
) -> None:
    first = await publish(processes, registry, TOPIC_PREFIX="oa.")
    assert first.returncode == 0, first.stderr
    assert outcomes(first) == {f"oa.{name}-value": "new" for name in catalogue}
    assert set(registry.compatibility.values()) == {"FORWARD"}
    schema = json.loads(registry.subjects["oa.user_add_org-value"][0])
    assert schema["properties"]["type"]["const"] == "com.dingtalk.user_add_org"
    again = await publish(processes, registry, TOPIC_PREFIX="oa.")
    assert set(outcomes(again).values()) == {"unchanged"}
    assert {len(found) for found in registry.subjects.values()} == {1}


async def test_a_subject_that_is_there_keeps_its_compatibility(
    processes: Processes, registry: StandIn
) -> None:
    registry.subjects["dingtalk.user_add_org-value"] = ["{}"]
    done = await publish(processes, registry, "user_add_org")
    assert (done.returncode, outcomes(done)) == (0, {"dingtalk.user_add_org-value": "new version"})
    assert registry.compatibility == {}
    assert len(registry.subjects["dingtalk.user_add_org-value"]) == 2


async def test_what_the_registry_finds_incompatible_is_said_and_the_rest_goes_on(
    processes: Processes, registry: StandIn
) -> None:
    registry.refuse = "dingtalk.user_add_org-value"
    done = await publish(processes, registry, "user_add_org", "user_leave_org")
    assert done.returncode == 1
    assert outcomes(done) == {registry.refuse: "refused", "dingtalk.user_leave_org-value": "new"}
    assert "incompatible with an earlier schema" in done.stdout


async def test_the_password_is_used_and_is_never_printed(processes: Processes, registry: StandIn) -> None:
    registry.password = "pass:wörd"
    env = {"SCHEMA_REGISTRY_USER": "me", "SCHEMA_REGISTRY_PASSWORD": registry.password}
    done = await publish(processes, registry, "user_add_org", **env)
    assert done.returncode == 0, done.stderr
    wrong = await publish(
        processes, registry, "user_add_org", **{**env, "SCHEMA_REGISTRY_PASSWORD": "wrong-one"}
    )
    assert wrong.returncode == 1
    assert "SCHEMA_REGISTRY_PASSWORD" in wrong.stderr
    assert "wrong-one" not in wrong.stderr + wrong.stdout


async def test_an_address_without_a_registry_is_named_with_the_next_step(registry: StandIn) -> None:
    for url, words in (
        (registry.url.replace("/api", "/other"), "check the path"),
        (NOBODY, "is not reached"),
    ):
        async with Registry(url) as found:
            with pytest.raises(RegistryUnavailable, match=words):
                await found.publish(subject_of("t"), "{}")


async def test_settings_that_cannot_work_are_told_before_anything_is_sent(
    processes: Processes, registry: StandIn
) -> None:
    for env in (
        {"SCHEMA_REGISTRY_URL": ""},
        {"SCHEMA_REGISTRY_URL": "registry.example.com"},
        {"SCHEMA_REGISTRY_URL": "https://me:secret@registry.example.com"},
        {"SCHEMA_REGISTRY_USER": "me"},
    ):
        done = await publish(processes, registry, **env)
        assert done.returncode == 2
        assert "SCHEMA_REGISTRY_" in done.stderr
        assert "secret" not in done.stderr
    unknown = await publish(processes, registry, "no_such_type")
    assert unknown.returncode == 2
    assert registry.subjects == {}
