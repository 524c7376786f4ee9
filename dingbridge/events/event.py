"""A record read back: what a consumer gets to see.

Responsible for: decoding a Kafka record's value into an ``Event``, and giving DingTalk's own spelling
back to receivers that were written for its callbacks. Not responsible for writing records.
"""

from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from dingbridge.errors import BridgeError
from dingbridge.events.catalogue import FORMS, UNCLASSIFIED, Form, catalogue, legal
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.envelope import TYPE_PREFIX
from dingbridge.events.normalise import denormalise
from dingbridge.events.strict_json import Unreadable, loads

_TEXTS = ("id", "source", "type", "partitionkey", "sequence", "journal", "via", "form")


class NotAnEvent(BridgeError):
    """A Kafka record that is no event of ours; the message says what is missing or wrong in it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    ``id`` is unique together with ``source``. ``event_type`` is DingTalk's name (``user_add_org``),
    ``type`` the CloudEvents one (``com.dingtalk.user_add_org``). ``subject`` is what it is about.
    ``time`` and ``received_time`` are aware, in UTC. ``data`` is the normalised payload;
    of unclassified events it is empty, and ``data_bytes`` holds the callback as it came.
    ``corp_id`` is ``-`` where DingTalk named no company. ``sequence`` is comparable only within one
    ``journal``. ``envelope`` is the whole JSON document.
    """

    id: str
    source: str
    type: str
    event_type: str
    subject: str | None
    time: datetime
    data: dict[str, Any]
    data_bytes: bytes | None
    corp_id: str
    app: str
    partitionkey: str
    sequence: str
    journal: str
    received_time: datetime
    via: str
    form: str
    traceparent: str | None
    envelope: dict[str, Any]

    @classmethod
    def decode(cls, value: bytes) -> "Event":
        """See the function ``decode``."""
        return decode(value)


def decode(value: bytes) -> Event:
    """Read a record's value. Raises ``NotAnEvent``, and nothing else."""
    try:
        envelope = loads(value)
    except Unreadable as error:
        raise NotAnEvent(f"the record's value is no JSON that can be read ({error.fault})") from None
    if not isinstance(envelope, dict):
        raise NotAnEvent("the record's value is JSON, but no object")
    try:
        return _event(envelope)
    except KeyError as error:
        raise NotAnEvent(f"the record is no event of ours: it has no {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError):
        raise NotAnEvent(
            "the record is no event of ours: an attribute is not of the form it must have"
        ) from None


def to_dingtalk(event: Event | dict[str, Any]) -> dict[str, Any]:
    """The callback's payload in DingTalk's spelling and types, ``EventType`` included, from an event
    or from an envelope. Of a callback that named several entities it holds this record's share.

    Raises ``NotAnEvent`` for unclassified events: their bytes are in ``data_bytes``.
    """
    envelope = event.envelope if isinstance(event, Event) else event
    type_ = envelope.get("type")
    data = envelope.get("data")
    if not isinstance(type_, str) or not type_.startswith(TYPE_PREFIX) or not isinstance(data, dict):
        raise NotAnEvent("only a classified event can be given back in DingTalk's spelling")
    event_type = type_.removeprefix(TYPE_PREFIX)
    verbatim = envelope.get("verbatim")
    names = verbatim.split(",") if isinstance(verbatim, str) else ()
    form: Form = next((form for form in FORMS if form == envelope.get("form")), "unknown")
    return denormalise(data, event_type, catalogue.get(event_type), form, names)


def _event(envelope: dict[str, Any]) -> Event:
    if envelope["specversion"] != "1.0":
        raise NotAnEvent("the record is no event of ours: its specversion is not 1.0")
    for name in _TEXTS:
        if not isinstance(envelope[name], str):
            raise NotAnEvent(f"the record is no event of ours: its {name} is no text")
    source, type_ = envelope["source"], envelope["type"]
    empty, owner, corp_id, app = source.split("/")
    if empty or owner != "dingtalk" or not (type_.startswith(TYPE_PREFIX) or type_ == RESYNC_REQUESTED):
        raise NotAnEvent("the record is no event of ours: its source or type is not DingTalk's")
    event_type = type_.removeprefix(TYPE_PREFIX)
    data_bytes: bytes | None = None
    data: dict[str, Any] = {}
    if event_type == UNCLASSIFIED:
        data_bytes = b64decode(envelope["data_base64"], validate=True)
    else:
        data = envelope["data"]
        if not isinstance(data, dict) or not (legal(event_type) or type_ == RESYNC_REQUESTED):
            raise NotAnEvent("the record is no event of ours: its data is no object, or its type no name")
    return Event(
        id=envelope["id"],
        source=source,
        type=type_,
        event_type=event_type,
        subject=envelope.get("subject"),
        time=_moment(envelope["time"]),
        data=data,
        data_bytes=data_bytes,
        corp_id=unquote(corp_id) if "%" in corp_id else corp_id,
        app=app,
        partitionkey=envelope["partitionkey"],
        sequence=envelope["sequence"],
        journal=envelope["journal"],
        received_time=_moment(envelope["receivedtime"]),
        via=envelope["via"],
        form=envelope["form"],
        traceparent=envelope.get("traceparent"),
        envelope=envelope,
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
