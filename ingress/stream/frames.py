"""What a frame of Stream mode is, which bytes of it are kept, and what is answered. Pure and total.

The form of frames and answers: protocol.md (open-dingtalk/developerpedia, docs/learn/stream/protocol.md).

Stream gives an event in two parts: its facts in the frame's headers, the rest as text in ``data``. HTTP
gives one object. What is kept is that object, built in one fixed order, so that normalising, dedupe and ids
are those of HTTP, and a re-push gives the same bytes. ``messageId`` and ``time`` name one push and not the
event: they stay out of it.
"""

import hashlib
import json
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from dingbridge.events import extract_facts
from dingbridge.ingress.journal.rows import NewCallback, pushed_callback

Status = Literal["SUCCESS", "LATER"]

_NAMES: Final = (
    ("EventType", "eventType"),
    ("CorpId", "eventCorpId"),
    ("EventTime", "eventBornTime"),
    ("eventId", "eventId"),
)
"""HTTP's name of each fact, and the header that has it (the samples of address-book-user-change)."""
_BLANKS: Final = " \t\n\r"


@dataclass(frozen=True, slots=True)
class Frame:
    """What to do with a frame: ``event``: keep its ``body``, also if it cannot be understood;
    ``disconnect``: open another connection; else nothing. ``reply``: what is answered at once.

    ``message_id`` None: there is nothing to answer to. ``push_id``: distinguishes this event from another
    with the same content."""

    kind: Literal["event", "disconnect", "other"]
    message_id: str | None = None
    body: bytes = b""
    push_id: str | None = None
    reply: str | None = None


def read(content: str | bytes) -> Frame:
    """What has come, as text or bytes. Never raises."""
    raw = content if isinstance(content, bytes) else _utf8(content)
    try:
        frame = json.loads(content)
    except (ValueError, RecursionError):
        frame = None
    if not isinstance(frame, dict):
        return Frame("event", body=raw)
    found = frame.get("headers")
    headers = found if isinstance(found, dict) else {}
    data, message_id = frame.get("data"), _text(headers.get("messageId"))
    text = data if isinstance(data, str) else None
    match frame.get("type"), headers.get("topic"):
        case "SYSTEM", "disconnect":
            # unanswered it comes again: the official Go and Python SDKs answer it since July 2026
            return Frame("disconnect", reply=_answer(message_id, text or "{}"))
        case "SYSTEM", "ping":  # its own ``data`` back, in which there is an ``opaque``
            return Frame("other", reply=_answer(message_id, text or "{}"))
        case "SYSTEM", _:  # CONNECTED, REGISTERED, KEEPALIVE and whatever else it says
            return Frame("other")
        case "CALLBACK", _:  # a robot's message or the like: not ours
            return Frame("other", reply=_answer(message_id, "{}", 404, "not subscribed"))
        case "EVENT", _ if text is not None:
            with suppress(RecursionError):  # in a header that is only just not too deep to be read
                raw = event_body(headers, text) or raw
    return Frame("event", message_id, raw, _text(headers.get("eventId")) or message_id)


def event_body(headers: dict[str, Any], data: str) -> bytes | None:
    """One object: the facts of the headers under HTTP's names, then the members of ``data`` as they stand;
    None where ``data`` is no JSON object.

    A name that ``data`` has itself, in upper or lower case, is not added. But the header's type is, also
    where ``data`` has a field such as ``eventType``.
    """
    names = _names(data)
    if names is None:
        return None
    taken = {"EventType"} & names | {name.lower() for name in names}
    facts = [
        f"{_json(name)}:{_json(_number(value) if header == 'eventBornTime' else value)}"
        for name, header in _NAMES
        if (value := headers.get(header)) is not None
        and (name if name == "EventType" else name.lower()) not in taken
    ]
    members = data.strip(_BLANKS)[1:-1]
    return _utf8("{" + ",".join([*facts, members] if names else facts) + "}")


def new_callback(frame: Frame, app: str) -> NewCallback:
    """The journal's row of an event that has just come."""
    push_id = frame.push_id or uuid.uuid4().hex
    push = hashlib.sha256(_utf8(f"stream\0{app}\0{push_id}")).digest()
    return pushed_callback(app, "stream", frame.body, extract_facts(frame.body), push)


def event_answer(frame: Frame, status: Status) -> str | None:
    """``SUCCESS``, or ``LATER``: push it again later; None if there is nothing to answer to."""
    return _answer(frame.message_id, f'{{"status":"{status}","message":""}}')


def _answer(message_id: str | None, data: str, code: int = 200, message: str = "OK") -> str | None:
    if message_id is None:
        return None
    headers = {"messageId": message_id, "contentType": "application/json"}
    return json.dumps({"code": code, "headers": headers, "message": message, "data": data})


def _names(data: str) -> set[str] | None:
    """The names of a JSON object's members, also of one that only Python's parser accepts (the relay
    normalises it, or not); None for anything else."""
    try:
        value = json.loads(data, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return set(value) if isinstance(value, dict) else None


def _number(value: Any) -> Any:
    """``eventBornTime`` is text in a header, and a number over HTTP."""
    is_digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20
    return int(value) if is_digits else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _utf8(text: str) -> bytes:
    """A lone surrogate, which JSON can escape, becomes what is not UTF-8: it is kept, and unclassified."""
    return text.encode(errors="surrogatepass")
