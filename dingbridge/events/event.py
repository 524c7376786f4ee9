"""A record read back: what a consumer gets to see.

Responsible for: decoding a Kafka record's value into an ``Event``, one of another sender's too where such
may come, and giving DingTalk's own spelling back to receivers that were written for its callbacks. Not
responsible for writing records.
"""

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic
from urllib.parse import unquote

from typing_extensions import TypeVar

from dingbridge.errors import BridgeError
from dingbridge.events.catalogue import FORMS, UNCLASSIFIED, Form, catalogue, legal
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.envelope import NO_CORP_ID, TYPE_PREFIX
from dingbridge.events.foreign import moment
from dingbridge.events.normalise import denormalise
from dingbridge.events.strict_json import Unreadable, loads, loads_own

Data = TypeVar("Data", bound=Mapping[str, Any], default=Mapping[str, Any], covariant=True)
"""What ``data`` is known to hold: one of ``dingbridge.generated.payloads``, else any names."""

_TEXTS = ("id", "source", "type", "partitionkey", "sequence", "journal", "via", "form")


class NotAnEvent(BridgeError):
    """A Kafka record that is no event of ours; the message says what is missing or wrong in it."""


@dataclass(slots=True)  # frozen, each would cost four times as much to make
class Event(Generic[Data]):
    """One event; ``Event[UserAddOrg]`` is one whose ``data`` is typed (``dingbridge.generated.payloads``).

    ``id`` is unique together with ``source``. ``event_type`` is DingTalk's name (``user_add_org``),
    ``type`` the CloudEvents one (``com.dingtalk.user_add_org``). ``subject`` is what it is about.
    ``time`` and ``received_time`` are aware, in UTC. ``data`` is the normalised payload;
    of unclassified events it is empty, and ``data_bytes`` holds the callback as it came.
    ``corp_id`` is ``-`` where DingTalk named no company. ``sequence`` is comparable only within one
    ``journal``. ``envelope`` is the whole JSON document.

    Of another sender's event, as control topics have them: ``event_type`` is ``type``; ``corp_id`` and
    ``app`` are what ``data`` says (``corpId``, ``app``), else ``-`` and empty; ``partitionkey`` is the
    record's key, ``time`` Kafka's where the sender gave none, and what only DingTalk's events have is empty.
    """

    id: str
    source: str
    type: str
    event_type: str
    subject: str | None
    time: datetime
    data: Data
    data_bytes: bytes | None
    corp_id: str
    app: str
    partitionkey: str
    sequence: str
    journal: str
    received_time: datetime
    via: str
    form: str
    envelope: dict[str, Any]

    @classmethod
    def decode(cls, value: bytes) -> "Event":
        """See the function ``decode``."""
        return decode(value)

    @property
    def idempotency_key(self) -> str:
        """By which another system knows a repeat of this event: 40 hex digits of ``source`` and ``id``, the
        same at each attempt, after a crash, and when the record is replayed."""
        return hashlib.sha256(f"{self.source}\n{self.id}".encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Sent:
    """How a record of a sender that need not be DingTalk came: its key, and Kafka's timestamp (epoch ms)."""

    key: bytes | None = None
    timestamp_ms: int = 0


def decode(value: bytes, sent: Sent | None = None) -> Event:
    """Read a record's value. Raises ``NotAnEvent``, and nothing else; its words hold nothing of the value.

    With ``sent``, any CloudEvent whose data is an object is one, whoever sent it.
    """
    try:
        envelope = loads_own(value) if sent is None else loads(value)
    except Unreadable as error:
        raise NotAnEvent(f"the record's value is no JSON that can be read ({error.fault})") from None
    if not isinstance(envelope, dict):
        raise NotAnEvent("the record's value is JSON, but no object")
    if sent is not None and not _is_ours(envelope.get("type")):
        return _of_sender(envelope, sent)
    try:
        return _event(envelope)
    except KeyError as error:
        raise NotAnEvent(f"the record is no event of ours: it has no {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError, OverflowError):
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
        if type(envelope[name]) is not str:
            raise NotAnEvent(f"the record is no event of ours: its {name} is no text")
    subject = envelope.get("subject")
    if subject is not None and type(subject) is not str:
        raise NotAnEvent("the record is no event of ours: its subject is no text")
    source, type_ = envelope["source"], envelope["type"]
    corp_id, app = _origin(source)
    event_type = _event_type(type_)
    data_bytes: bytes | None = None
    data: dict[str, Any] = {}
    if event_type == UNCLASSIFIED:
        data_bytes = b64decode(envelope["data_base64"], validate=True)
    else:
        data = envelope["data"]
        if type(data) is not dict:
            raise NotAnEvent("the record is no event of ours: its data is no object")
    return Event(
        id=envelope["id"],
        source=source,
        type=type_,
        event_type=event_type,
        subject=subject,
        time=_moment(envelope["time"]),
        data=data,
        data_bytes=data_bytes,
        corp_id=corp_id,
        app=app,
        partitionkey=envelope["partitionkey"],
        sequence=envelope["sequence"],
        journal=envelope["journal"],
        received_time=_moment(envelope["receivedtime"]),
        via=envelope["via"],
        form=envelope["form"],
        envelope=envelope,
    )


@lru_cache(maxsize=256)
def _origin(source: str) -> tuple[str, str]:
    """The company and the app that a ``source`` names. Raises ``NotAnEvent``, ``ValueError``."""
    empty, owner, corp_id, app = source.split("/")
    if empty or owner != "dingtalk":
        raise NotAnEvent("the record is no event of ours: its source is not DingTalk's")
    return unquote(corp_id), app


@lru_cache(maxsize=256)
def _event_type(type_: str) -> str:
    """DingTalk's name in a CloudEvents ``type``. Raises ``NotAnEvent``."""
    event_type = type_.removeprefix(TYPE_PREFIX)
    named = legal(event_type) or event_type == UNCLASSIFIED or type_ == RESYNC_REQUESTED
    if not (_is_ours(type_) and named):
        raise NotAnEvent("the record is no event of ours: its type is no name of DingTalk's")
    return event_type


def _is_ours(type_: object) -> bool:
    return isinstance(type_, str) and (type_.startswith(TYPE_PREFIX) or type_ == RESYNC_REQUESTED)


def _of_sender(envelope: dict[str, Any], sent: Sent) -> Event:
    """https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md"""
    data = envelope.get("data", {})
    faults = [] if envelope.get("specversion") == "1.0" else ["its specversion is not 1.0"]
    for name in ("id", "source", "type"):
        if not isinstance(envelope.get(name), str) or not envelope[name]:
            faults.append(f"it has no {name}")
    faults += [
        f"its {name} is no text"
        for name in ("subject", "time")
        if not isinstance(envelope.get(name), str | None)
    ]
    if not isinstance(data, dict):
        faults.append("its data is no object")
    time = moment(sent.timestamp_ms)
    if isinstance(text := envelope.get("time"), str):
        try:
            time = _moment(text)
        except (ValueError, OverflowError):
            faults.append("its time is no RFC 3339 time with a zone")
    if faults:
        raise NotAnEvent(f"the record is no CloudEvent with an object as its data: {'; '.join(faults)}")
    corp_id, app = data.get("corpId"), data.get("app")
    return Event(
        id=envelope["id"],
        source=envelope["source"],
        type=envelope["type"],
        event_type=envelope["type"],
        subject=envelope.get("subject"),
        time=time,
        data=data,
        data_bytes=None,
        corp_id=corp_id if isinstance(corp_id, str) and corp_id else NO_CORP_ID,
        app=app if isinstance(app, str) else "",
        partitionkey=_key(envelope, sent),
        sequence="",
        journal="",
        received_time=time,
        via="",
        form="unknown",
        envelope=envelope,
    )


def _key(envelope: dict[str, Any], sent: Sent) -> str:
    if sent.key is not None:
        return sent.key.decode(errors="replace")
    named = envelope.get("partitionkey")
    return named if isinstance(named, str) else ""


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
