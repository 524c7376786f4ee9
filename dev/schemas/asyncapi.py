"""The topics as an AsyncAPI 3.0.0 document: addresses, keys, headers, payloads, bindings and examples.

Topics and servers are those of the settings' defaults.

Responsible for the document. Not responsible for the schemas in it (``json_schema.py``), or
for where examples and messages of other packages come from: the caller brings them.

The document is the bridge's: it *sends* events and *receives* what systems want. Payloads stand inline and
without ``$schema``, as AsyncAPI's own schemas, which are draft-07: its tools skip others without a word.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from dev.schemas.json_schema import envelope_schema, record_schema
from dingbridge.events.catalogue import UNCLASSIFIED, EventSpec, catalogue, class_name
from dingbridge.events.envelope import CONTENT_TYPE, TYPE_PREFIX, Record
from dingbridge.kafka.topic_policy import topic_configs
from dingbridge.settings import KafkaSettings

VERSION: Final = "1.0.0"
"""Of the contract as a whole: envelope, keys, headers and topics. Each type's ``dataschema`` has its own."""

Json = dict[str, Any]

_DEFAULTS: Final = KafkaSettings.model_construct()  # whatever the environment says


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a control topic: ``schema`` is that of the whole record, with its ``examples``."""

    name: str
    summary: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ControlTopic:
    """A control topic: ``name`` is without prefix; ``action`` says what the bridge does there, ``key``
    what a record's key is."""

    name: str
    description: str
    action: Literal["send", "receive"]
    key: str
    messages: Sequence[Message]


def document(
    specs: Iterable[EventSpec],
    examples: Mapping[str, Sequence[Record]],
    control: Sequence[ControlTopic] = (),
) -> Json:
    """The document. ``examples`` are records by EventType, or ``unclassified``; each may have none."""
    channels: dict[str, Json] = {}
    operations: dict[str, Json] = {}
    for spec in specs:
        name = spec.event_type
        channels[name] = _event_channel(spec, examples.get(name, ()))
        operations[f"publish{class_name(name)}"] = _operation("send", name, [name])
    channels[UNCLASSIFIED] = _unclassified_channel(examples.get(UNCLASSIFIED, ()))
    operations["publishUnclassified"] = _operation("send", UNCLASSIFIED, [UNCLASSIFIED])
    for topic in control:
        channels[topic.name] = _control_channel(topic)
        verb = "take" if topic.action == "receive" else "publish"
        names = [message.name for message in topic.messages]
        operations[f"{verb}{class_name(topic.name)}"] = _operation(topic.action, topic.name, names)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:dingbridge",
        "info": _info(),
        "defaultContentType": CONTENT_TYPE.decode(),
        "servers": {
            "kafka": {
                "host": _DEFAULTS.kafka_bootstrap_servers,
                "protocol": "kafka",
                "description": "Kafka of your installation.",
            }
        },
        "channels": channels,
        "operations": operations,
    }


def headers_schema() -> Json:
    """The schema of the headers that every record has."""
    texts = {
        "content-type": "How the value is written.",
        "dingbridge-type": "The EventType; `unclassified` for what cannot be normalised.",
        "dingbridge-corp": "The company; `-` where DingTalk names none.",
        "dingbridge-id": "The event's id, unique together with its `source`.",
    }
    return {
        "title": "DingbridgeHeaders",
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in texts.items()},
        "required": [*texts],
        "additionalProperties": True,
    }


def _info() -> Json:
    families = catalogue.families.items()
    return {
        "title": "dingbridge",
        "version": VERSION,
        "description": (
            "DingTalk's events in Kafka, one topic for each EventType, as structured CloudEvents 1.0. "
            "A topic appears when it is first needed, and one of a type that is not here may appear any day. "
            "Deduplicate by `source` and `id`; order holds within one topic and one key. Schemas are open: "
            "there may be more fields, and more values than those that are named; `required` is what "
            "DingTalk documents, no promise. Actions are the bridge's: what it sends, you receive. "
            "钉钉事件进入 Kafka：每种 EventType 一个 topic，消息为 CloudEvents 1.0。"
        ),
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [{"name": name, "description": words.both} for name, words in families],
    }


def _event_channel(spec: EventSpec, examples: Sequence[Record]) -> Json:
    name = spec.event_type
    words = spec.title.both
    key = "`<corpId>`" if spec.subject is None else f"`<corpId>:<{spec.subject.kind}>`"
    message = _message(name, words, record_schema(spec), f"{key}, in UTF-8.")
    message["title"] = spec.title.en
    message["examples"] = _examples(name, examples)
    return {
        **_channel(_DEFAULTS.topic_prefix + name, [message]),
        "title": spec.title.en,
        "summary": words,
        "tags": [{"name": spec.family}],
        "externalDocs": {"url": spec.page, "description": "钉钉文档 · DingTalk's page"},
    }


def _unclassified_channel(examples: Sequence[Record]) -> Json:
    schema = envelope_schema()
    schema["title"] = "UnclassifiedEvent"
    schema["properties"]["type"] = {"type": "string", "const": TYPE_PREFIX + UNCLASSIFIED}
    schema["required"] = [*schema["required"], "data_base64", "fault"]
    summary = "无法归类的回调 · What cannot be normalised: the callback's bytes, and why"
    message = _message(UNCLASSIFIED, summary, schema, "`<corpId>`, in UTF-8.")
    message["examples"] = _examples(UNCLASSIFIED, examples)
    channel = _channel(_DEFAULTS.topic_prefix + UNCLASSIFIED, [message])
    # It holds types over the limit of unknown topics, too, with their own envelope.
    return {**channel, "title": "Unclassified", "summary": summary}


def _examples(name: str, records: Sequence[Record]) -> list[Json]:
    return [
        {
            "name": f"{name}-{number}",
            "headers": {header: value.decode() for header, value in record.headers},
            "payload": json.loads(record.value),
        }
        for number, record in enumerate(records, 1)
    ]


def _control_channel(topic: ControlTopic) -> Json:
    messages = []
    for entry in topic.messages:
        schema = {name: value for name, value in entry.schema.items() if name != "examples"}
        message = _message(entry.name, entry.summary, schema, topic.key)
        if topic.action == "receive":
            del message["headers"]  # a sender needs none
        message["examples"] = [
            {"name": f"{entry.name}-{number}", "payload": example}
            for number, example in enumerate(entry.schema.get("examples", ()), 1)
        ]
        messages.append(message)
    channel = _channel(_DEFAULTS.control_prefix + topic.name, messages)
    return {**channel, "summary": topic.description}


def _channel(address: str, messages: Sequence[Json]) -> Json:
    configs = topic_configs(_DEFAULTS, address, replication=1)
    configuration: Json = {"cleanup.policy": [configs["cleanup.policy"]]}
    configuration |= {name: int(configs[name]) for name in ("retention.ms", "max.message.bytes")}
    return {
        "address": address,
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {message["name"]: message for message in messages},
        "bindings": {
            "kafka": {"topic": address, "bindingVersion": "0.5.0", "topicConfiguration": configuration}
        },
    }


def _message(name: str, summary: str, payload: Json, key: str) -> Json:
    return {
        "name": name,
        "summary": summary,
        "contentType": CONTENT_TYPE.decode(),
        "headers": headers_schema(),
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
    }


def _operation(action: str, channel: str, messages: Iterable[str]) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [*_references(channel, messages)],
    }


def _references(channel: str, messages: Iterable[str]) -> Iterator[Json]:
    for message in messages:
        yield {"$ref": f"#/channels/{channel}/messages/{message}"}
