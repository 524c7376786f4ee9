"""A file of messages: reading it, and sending it."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from dingbridge import Reject
from dingbridge.consumers.outbound.forms import MODELS, TYPE_PREFIX
from dingbridge.consumers.outbound.messages import Message, key, parse
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.events.event import NotAnEvent, Sent, decode
from dingbridge.kafka.client import discard_producer, explain, producer, start_producer
from dingbridge.kafka.topic_policy import OUTBOUND, control_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings

SOURCE = "/dingbridge/outbound/send"
"""``source`` of messages whose file names none."""


class BadFile(BridgeError):
    """A file of messages with faults in it, all of which it names; nothing was sent."""

    exit_code = 2


def read_messages(path: Path) -> list[tuple[Message, bytes]]:
    """The messages of a file with their records' values: a JSON array, or an object a line.

    Each is a CloudEvent, or just ``type`` (its prefix may be left out), ``subject`` and ``data``. Raises
    ``BadFile``, which names every fault with its line (of an array: its number).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadFile(f"{path} cannot be read ({reason})") from error
    found: list[tuple[Message, bytes]] = []
    faults: list[str] = []
    for place, entry in _entries(text):
        try:
            value = _value(json.loads(entry) if isinstance(entry, str) else entry)
            found.append((_message(value), value))
        except json.JSONDecodeError as error:
            faults.append(f"{place}: no JSON ({error.msg}, column {error.colno})")
        except (NotAnEvent, Reject) as error:
            faults.append(f"{place}: {error}")
    if not found and not faults:
        faults.append("it holds no message")
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise BadFile(f"{path} is not sent, nothing of it:\n{lines}")
    return found


def _entries(text: str) -> list[tuple[str, Any]]:
    """Each entry with its place: still as text where it has a line of its own."""
    if text.lstrip().startswith("["):
        try:
            return [(f"number {number}", entry) for number, entry in enumerate(json.loads(text), 1)]
        except json.JSONDecodeError as error:
            raise BadFile(f"no JSON array ({error.msg}, line {error.lineno}, column {error.colno})") from None
    return [(f"line {number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _value(entry: Any) -> bytes:
    if not isinstance(entry, dict):
        raise NotAnEvent("is no JSON object")
    type_ = entry.get("type")
    if "specversion" not in entry:
        entry = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": SOURCE, **entry}
    if isinstance(type_, str) and type_ in MODELS:
        entry["type"] = TYPE_PREFIX + type_
    return json.dumps(entry, ensure_ascii=False).encode()


def _message(value: bytes) -> Message:
    entry = json.loads(value)
    kind = str(entry.get("type")).removeprefix(TYPE_PREFIX).partition(".")[0]
    data = entry.get("data")
    corp_id = data.get("corpId") if isinstance(data, dict) else None
    return parse(decode(value, Sent(key(str(corp_id), kind, str(entry.get("subject"))).encode())))


async def send(settings: KafkaSettings, messages: Sequence[tuple[Message, bytes]]) -> None:
    """Send them in order, and wait until Kafka has them all. Raises ``KafkaUnavailable``."""
    topic = control_topic(settings, OUTBOUND)
    await ensure_topics(settings, [topic])
    sender = producer(settings)
    await start_producer(sender, settings)
    try:
        sent = []
        for message, value in messages:
            name = key(message.corp_id, message.kind, message.id).encode()
            headers = [("content-type", b"application/cloudevents+json")]
            sent.append(await sender.send(topic, key=name, value=value, headers=headers))
        await asyncio.gather(*sent)
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(
            f"{explain(error, settings)}. Some of the file may be sent: send it again, versions keep it right"
        ) from error
    finally:
        await discard_producer(sender, 5)
