"""What a system gets of an event, in the form that it declares."""

from collections.abc import Callable, Collection
from typing import Any, Final, Literal, get_args

from dingbridge.events.event import Event, to_dingtalk
from dingbridge.events.strict_json import dumps

BodyForm = Literal["cloudevents", "dingtalk", "dingtalk-string"]
CHANGE: Final = "com.dingbridge.change"
"""``type`` of a change, as it stands in the control topic; no event of DingTalk's."""
_ALWAYS: Final = frozenset({"exists"})
"""Fields of a change that are no personal value: whether somebody is there."""

BODY_FORMS: tuple[str, ...] = get_args(BodyForm)


def _cloudevents(event: Event) -> bytes:
    return dumps(event.envelope)


def _dingtalk(event: Event) -> bytes:
    return dumps(to_dingtalk(event))


def _dingtalk_string(event: Event) -> bytes:
    return dumps(dumps(to_dingtalk(event)).decode())


_FORMS: dict[BodyForm, tuple[str, Callable[[Event], bytes]]] = {
    "cloudevents": ("application/cloudevents+json", _cloudevents),
    "dingtalk": ("application/json", _dingtalk),
    "dingtalk-string": ("application/json", _dingtalk_string),
}


def body_of(event: Event, form: BodyForm, fields: Collection[str] = ()) -> tuple[str, bytes]:
    """Content type and bytes. ``cloudevents``: the whole record, in structured mode. ``dingtalk``: the
    callback's payload in DingTalk's spelling, ``EventType`` included; of a callback that named several
    entities it is this event's share. ``dingtalk-string``: the same as one JSON string. Of a change
    (``CHANGE``) only the values of ``fields`` are sent, and the names of the others."""
    content_type, make = _FORMS[form]
    if event.type == CHANGE:
        return content_type, dumps(_with_values_of(fields, event.envelope))
    return content_type, make(event)


def _with_values_of(fields: Collection[str], envelope: dict[str, Any]) -> dict[str, Any]:
    """``envelope`` of a change, with the values of ``fields`` alone."""
    data = dict(envelope["data"])
    sent, withheld = {*fields, *_ALWAYS}, list[str]()
    for part in ("fields", "form"):
        values = data.pop(part, None)
        if isinstance(values, dict):
            data[part] = {name: value for name, value in values.items() if name in sent}
            withheld += [name for name in values if name not in data[part]]
    return {**envelope, "data": {**data, "withheld": withheld} if withheld else data}
