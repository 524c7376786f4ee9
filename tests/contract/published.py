"""What the contract says, and what a real ingress has published: the two sides that are compared here."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from dingbridge.events import catalogue
from dingbridge.events.examples import example_callbacks
from dingbridge.settings import KafkaSettings
from tests.contract.toolchain import ROOT

Record = ConsumerRecord[bytes, bytes]

NOT_KNOWN = {
    "EventType": "type_of_tomorrow",
    "corpId": "dingcorpsample01",
    "eventId": "1",
    "when": 1764057609000,
}
"""A callback of a type that the catalogue does not have."""


@dataclass(frozen=True)
class Published:
    """Records that a real ingress has published for all recorded callbacks, by EventType."""

    env: dict[str, str]
    """How to reach them: ``KAFKA_BOOTSTRAP_SERVERS``, ``TOPIC_PREFIX`` and so on."""
    settings: KafkaSettings
    records: dict[str, list[Record]]

    def values(self, event_type: str) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.records[event_type] if record.value]


@cache
def asyncapi() -> dict[str, Any]:
    """The document as a team takes it."""
    found: dict[str, Any] = json.loads((ROOT / "schemas" / "asyncapi.json").read_text("utf-8"))
    return found


def payloads() -> dict[str, dict[str, Any]]:
    """Each EventType's schema of a whole record, as it stands in the AsyncAPI document."""
    channels = asyncapi()["channels"]
    return {name: channels[name]["messages"][name]["payload"] for name in catalogue}


def write_schemas(folder: Path) -> list[Path]:
    """A file for each of ``payloads``, for generators of models."""
    folder.mkdir(parents=True)
    written = []
    for name, schema in payloads().items():
        path = folder / f"{name}.json"
        head = {"$schema": "http://json-schema.org/draft-07/schema#"}
        path.write_text(json.dumps(head | schema, ensure_ascii=False), encoding="utf-8")
        written.append(path)
    return written


def callbacks() -> list[bytes]:
    """The bytes that DingTalk would have sent: all recorded examples, an unknown type, and no JSON at all."""
    known = [callback for event_type in catalogue for callback in example_callbacks(event_type)]
    return [
        *(json.dumps(callback, ensure_ascii=False).encode() for callback in [*known, NOT_KNOWN]),
        b"this is no JSON",
    ]
