"""What a system gets of an event, in the form that it declares."""

from collections.abc import Callable
from typing import Literal, get_args

from dingbridge.events.event import Event, to_dingtalk
from dingbridge.events.strict_json import dumps

BodyForm = Literal["cloudevents", "dingtalk", "dingtalk-string"]
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


def body_of(event: Event, form: BodyForm) -> tuple[str, bytes]:
    """Content type and bytes. ``cloudevents``: the whole record, in structured mode. ``dingtalk``: the
    callback's payload in DingTalk's spelling, ``EventType`` included; of a callback that named several
    entities it is this event's share. ``dingtalk-string``: the same as one JSON string."""
    content_type, make = _FORMS[form]
    return content_type, make(event)
