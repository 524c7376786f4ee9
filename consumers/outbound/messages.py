"""Reading the messages of ``<control>outbound``, and building the records that answer them.

What they may hold stands in ``forms.py``.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dingbridge.consumers.outbound.fields import DINGTALK_IDS
from dingbridge.consumers.outbound.forms import MODELS, TYPE_PREFIX, AnyKind, ChangeData, ResultData
from dingbridge.events.control import ControlRecord
from dingbridge.events.envelope import CONTENT_TYPE, rfc3339, source
from dingbridge.events.event import Event
from dingbridge.events.strict_json import dumps, loads
from dingbridge.worker.outcomes import LONGEST_REASON, Reject

RESULT: Final = "com.dingbridge.outbound.result"
CHANGE: Final = "com.dingbridge.change"
ROOT: Final = "root"
"""Stands where a department's own id would, for the company itself."""


@dataclass(frozen=True, slots=True)
class Message:
    """A valid message. ``type`` is without its prefix; ``id`` the own id, or the request's; ``data`` as sent.
    ``source`` and ``message_id`` name the message itself."""

    type: str
    kind: AnyKind
    id: str
    corp_id: str
    app: str | None
    version: int | None
    data: Mapping[str, Any]
    source: str
    message_id: str

    @property
    def fields(self) -> dict[str, Any]:
        """What ``user.desired`` and ``department.desired`` say, own ids not resolved yet."""
        return {name: value for name, value in self.data.items() if name not in _NO_FIELDS}

    @property
    def absent(self) -> bool:
        return self.type.endswith(".absent")


_NO_FIELDS: Final = frozenset({"corpId", "app", "version", *DINGTALK_IDS.values()})


class Outgoing(NamedTuple):
    """A record to be sent. ``topic`` is without ``CONTROL_PREFIX``."""

    topic: Literal["outbound-results", "changes"]
    key: str
    value: bytes

    def record(self) -> ControlRecord:
        """With the headers that every record of the bridge has."""
        envelope = loads(self.value)
        headers = (
            ("content-type", CONTENT_TYPE),
            ("dingbridge-type", envelope["type"].encode()),
            ("dingbridge-corp", envelope["data"]["corpId"].encode()),
            ("dingbridge-id", envelope["id"].encode()),
        )
        return ControlRecord(self.key.encode(), self.value, headers)


def parse(event: Event) -> Message:
    """The message in ``event``. Raises ``Reject``, which names every fault by its place and rule, never a
    value."""
    name = event.type.removeprefix(TYPE_PREFIX)
    model = MODELS.get(name)
    if model is None or not event.type.startswith(TYPE_PREFIX):
        raise Reject(f"type: must be {TYPE_PREFIX} and one of {', '.join(MODELS)}")
    try:
        model.model_validate(event.envelope)
    except ValidationError as error:
        faults = [_words(item) for item in error.errors(include_url=False, include_input=False)]
    else:
        faults = []
    data, subject = event.data, event.subject
    kind = cast(AnyKind, name.partition(".")[0])
    corp_id = data.get("corpId")
    if isinstance(corp_id, str) and subject and event.partitionkey != f"{corp_id}:{kind}:{subject}":
        faults.append(f"key: must be <data.corpId>:{kind}:<subject>")
    if kind == "department" and subject == ROOT:
        faults.append("subject: root is the company itself, which is not written")
    if faults or subject is None or corp_id is None:
        raise Reject(_within(faults))
    return Message(
        type=name,
        kind=kind,
        id=subject,
        corp_id=corp_id,
        app=data.get("app"),
        version=data.get("version"),
        data=data,
        source=event.source,
        message_id=event.id,
    )


def key(corp_id: str, kind: str, own_id: str) -> str:
    """The key of a message and of what answers it."""
    return f"{corp_id}:{kind}:{own_id}"


def result_record(data: ResultData, *, app: str | None, turn: int, now_ms: int) -> Outgoing:
    """``turn`` is any number that rises with each decision about the row: the same one gives the same id."""
    return Outgoing("outbound-results", *_envelope(RESULT, data, app, turn, now_ms))


def change_record(data: ChangeData, *, app: str | None, turn: int, now_ms: int) -> Outgoing:
    """``turn`` as for ``result_record``."""
    return Outgoing("changes", *_envelope(CHANGE, data, app, turn, now_ms))


def _envelope(
    type_: str, data: ResultData | ChangeData, app: str | None, turn: int, now_ms: int
) -> tuple[str, bytes]:
    content = data.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(data, ChangeData) and data.fields:  # a field that was or became empty has its null
        content["fields"] = {name: field.model_dump(mode="json") for name, field in data.fields.items()}
    subject = data.id or data.dingtalk_id or ""
    name = key(data.corp_id, data.kind, subject)
    content["id"] = data.id
    digest = hashlib.sha256(dumps([type_, name, turn, content])).hexdigest()
    envelope = {
        "specversion": "1.0",
        "id": digest[:32],
        "source": source(data.corp_id, app or "default"),
        "type": type_,
        "subject": subject,
        "time": rfc3339(now_ms),
        "datacontenttype": "application/json",
        "dataschema": f"urn:dingbridge:outbound:{'result' if type_ == RESULT else 'change'}:1",
        "partitionkey": name,
        "sequence": f"{turn:020}",
        "journal": "outbound",
        "receivedtime": rfc3339(now_ms),
        "via": "outbound",
        "form": "unknown",
        "data": content,
    }
    return name, dumps(envelope)


def _words(fault: ErrorDetails) -> str:
    """A fault's place and rule. The place may hold names of fields that the sender chose, cut short."""
    place = ".".join(str(part)[:64] for part in fault["loc"]) or "message"
    if fault["type"] == "missing":
        return f"{place}: is missing"
    if fault["type"] == "extra_forbidden":
        return f"{place}: is no field of this message"
    return f"{place}: {fault['msg'].removeprefix('Value error, ').replace('Input should be', 'must be', 1)}"


def _within(faults: list[str]) -> str:
    """All faults, as many as a dead letter keeps, and how many more there are."""
    lengths = accumulate(len(fault) + 2 for fault in faults)
    kept = sum(length <= LONGEST_REASON - 20 for length in lengths)
    more = [f"and {len(faults) - kept} more"] if kept < len(faults) else []
    return "; ".join([*faults[:kept], *more])
