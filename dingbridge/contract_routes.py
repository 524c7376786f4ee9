"""The contract on the private listener: ``/asyncapi.json``, and ``/schemas/<name>/<version>``.

Responsible for serving the files of ``schemas/``, and the document with this installation's topics. Not
responsible for making it (``dev/schemas``).

A record's ``dataschema`` is ``urn:dingbridge:<name>:<version>``: these two parts are the address here. Former
versions stand in ``schemas/earlier``, as ``docs/reference/contract.md`` asks of whoever raises one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import orjson
from aiohttp import web

from dingbridge.events.envelope import urn
from dingbridge.health_server import json_response
from dingbridge.kafka.topic_policy import topic_configs
from dingbridge.settings import KafkaSettings

_FOLDER: Final = files("dingbridge") / "schemas"
_NAMES: Final = "[A-Za-z0-9_.:-]{1,200}"
_OUTBOUND: Final = "outbound:"


@dataclass(frozen=True, slots=True)
class Installation:
    """What an installation decides. ``configuration`` gives what a topic is made with, in Kafka's names."""

    topic_prefix: str = "dingtalk."
    control_prefix: str = "ctl-dingtalk."
    bootstrap: str = "localhost:9092"
    configuration: Callable[[str], Mapping[str, Any]] | None = None


def contract_routes(settings: KafkaSettings) -> list[web.RouteDef]:
    """The routes. The document is made when it is first asked for."""
    made: list[bytes] = []

    async def asyncapi(request: web.Request) -> web.Response:
        if not made:
            document = orjson.loads((_FOLDER / "asyncapi.json").read_bytes())
            made.append(orjson.dumps(moved(document, installation_of(settings))))
        return web.Response(body=made[0], content_type="application/json")

    async def schema(request: web.Request) -> web.Response:
        name, version = request.match_info["name"], int(request.match_info["version"])
        text = schema_file(name, version)
        if text is None:
            words = f"this release has no version {version} of {name}, or does not know it"
            return json_response({"error": words}, 404)
        return web.Response(body=text, content_type="application/schema+json")

    return [
        web.get("/asyncapi.json", asyncapi),
        web.get(f"/schemas/{{name:{_NAMES}}}/{{version:[0-9]{{1,6}}}}", schema),
    ]


def schema_file(name: str, version: int) -> bytes | None:
    """The 2020-12 schema that ``urn:dingbridge:<name>:<version>`` names: of an EventType's ``data``, of the
    ``envelope``, or of ``outbound:<message>``. ``None`` where there is none."""
    current = (
        _FOLDER / "outbound" / f"{name.removeprefix(_OUTBOUND)}.json"
        if name.startswith(_OUTBOUND)
        else _FOLDER / "json-2020-12" / f"{name}.json"
    )
    for path in (current, _FOLDER / "earlier" / f"{name.replace(':', '.')}.{version}.json"):
        if path.is_file():
            text = path.read_bytes()
            if orjson.loads(text).get("$id") == urn(name, version):
                return text
    return None


def installation_of(settings: KafkaSettings) -> Installation:
    """What the settings decide of the document."""

    def configuration(topic: str) -> dict[str, Any]:
        configs = topic_configs(settings, topic, replication=1)
        return {
            "cleanup.policy": [configs["cleanup.policy"]],
            **{name: int(configs[name]) for name in ("retention.ms", "max.message.bytes")},
        }

    return Installation(
        settings.topic_prefix, settings.control_prefix, settings.kafka_bootstrap_servers, configuration
    )


def moved(document: dict[str, Any], target: Installation) -> dict[str, Any]:
    """``document``, which was made for the settings' defaults, with the topics of ``target``. Changes it."""
    default = Installation()
    document["servers"]["kafka"]["host"] = target.bootstrap
    for name, channel in document["channels"].items():
        control = channel["address"].startswith(default.control_prefix)
        address = (target.control_prefix if control else target.topic_prefix) + name
        binding = channel["bindings"]["kafka"]
        channel["address"] = binding["topic"] = address
        if target.configuration is not None:
            binding["topicConfiguration"] = {**target.configuration(address)}
    return document
