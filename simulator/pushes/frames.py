"""Stream mode's frames: an event, what the server itself says, and what an answer says. No I/O.

By protocol.md (open-dingtalk/developerpedia, docs/learn/stream/protocol.md) and captures of 2023-2025. What
Stream puts into headers, the event's type, company and time, is taken out of the payload; its id stands in
both. The rest is ``data``, as ``company/events`` makes it for Stream. A payload that was made for HTTP,
before the mode was changed, goes the same way, without its ``BizId``; one of the old form has neither id nor
time in its headers then.
"""

import json
import time
from typing import Any, Final, NamedTuple

import orjson

_HEADERS: Final = {
    "EventType": "eventType",
    "CorpId": "eventCorpId",
    "corpId": "eventCorpId",
    "EventTime": "eventBornTime",
}


class StreamAnswer(NamedTuple):
    """What a client answered: to which frame, its code, and its ``data`` as it came."""

    message_id: str
    code: int
    data: Any


def event_frame(plaintext: bytes, message_id: str, app_id: str) -> str:
    """The frame of an event; ``plaintext`` is its JSON object as pushed over HTTP."""
    payload = json.loads(plaintext)
    headers = {header: str(payload.pop(name)) for name, header in _HEADERS.items() if name in payload}
    payload.pop("BizId", None)
    if "eventId" in payload:
        headers["eventId"] = payload["eventId"]
    headers["eventUnifiedAppId"] = app_id
    return _frame("EVENT", "*", message_id, headers, payload)


def system_frame(topic: str, message_id: str, data: dict[str, str]) -> str:
    """``ping`` with its ``opaque``, or ``disconnect`` with its ``reason``."""
    return _frame("SYSTEM", topic, message_id, {}, data)


def _frame(kind: str, topic: str, message_id: str, headers: dict[str, str], data: dict[str, Any]) -> str:
    common = {
        "topic": topic,
        "messageId": message_id,
        "contentType": "application/json",
        "time": str(time.time_ns() // 1_000_000),
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    frame = {"specVersion": "1.0", "type": kind, "headers": common | headers, "data": text}
    return orjson.dumps(frame).decode()


def read_answer(text: str) -> StreamAnswer | None:
    """``None`` for what is no answer: no JSON object, or without a whole ``code`` or its ``messageId``."""
    try:
        frame = orjson.loads(text)
        code, message_id = frame["code"], frame["headers"]["messageId"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    if not isinstance(code, int) or not isinstance(message_id, str):
        return None
    return StreamAnswer(message_id, code, frame.get("data"))


def outcome_of(answer: StreamAnswer) -> str:
    """``success``, ``later``, ``code_<code>``, or ``no_status``: code 200 whose ``data`` has no ``status`` of
    the two. The last is what PyPI's dingtalk-stream and dingtalk-stream-sdk-python say of an event that they
    took (protocol.md demands a status; that DingTalk takes it without one is UNVERIFIED)."""
    if answer.code != 200:
        return f"code_{answer.code}"
    try:
        data = orjson.loads(answer.data)
    except (orjson.JSONDecodeError, TypeError):
        data = None
    status = data.get("status") if isinstance(data, dict) else None
    return {"SUCCESS": "success", "LATER": "later"}.get(str(status), "no_status")
