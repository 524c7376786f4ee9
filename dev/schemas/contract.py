"""``schemas/asyncapi.json``: the AsyncAPI document of an installation with the settings' defaults."""

from collections.abc import Mapping, Sequence
from typing import Any

from dev.schemas import outbound
from dev.schemas.asyncapi import ControlTopic, Message, document
from dingbridge.consumers.outbound.forms import MODELS
from dingbridge.events.catalogue import UNCLASSIFIED, EventSpec
from dingbridge.events.envelope import Received, Record, to_records
from dingbridge.testing.recordings import RECEIVED_MS

_KEY = "`<corpId>:<kind>:<own id>`, in UTF-8."


def asyncapi(specs: Sequence[EventSpec], examples: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """The document; ``examples`` are records by EventType."""
    shown = {**examples, UNCLASSIFIED: _unclassified()}
    return document(specs, shown, _control())


def _unclassified() -> list[Record]:
    """What is published for a callback that cannot be normalised: this one says no EventType."""
    body = b'{"corpId": "dingcorpsample01"}'
    return to_records(Received(1, "recorded", RECEIVED_MS, "default", "http", body))


def _control() -> list[ControlTopic]:
    schemas = outbound.schemas()
    desired = [_message(name, schemas) for name in MODELS]
    return [
        ControlTopic(
            "outbound",
            "期望状态与请求 · What other systems want DingTalk to be",
            "receive",
            _KEY,
            desired,
        ),
        ControlTopic(
            "outbound-results",
            "每条消息的结果 · The outcome of each message",
            "send",
            _KEY,
            [_message("result", schemas)],
        ),
        ControlTopic(
            "changes",
            "钉钉中的人工修改 · What people changed in DingTalk",
            "send",
            _KEY,
            [_message("change", schemas)],
        ),
    ]


def _message(name: str, schemas: Mapping[str, dict[str, Any]]) -> Message:
    schema = schemas[name]
    summary = schema["properties"]["data"].get("description") or schema["title"]
    return Message(name, summary, schema)
