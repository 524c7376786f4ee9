"""What one item of a failed list becomes: the callback that did not arrive, or a resync request. Pure.

An item of ``get_call_back_failed_result`` is not the pushed body, and poorer. It is put back into the form of
2017-2023. It has neither the bytes of the push nor its id: the order of a push's fields changed with the
years, ``OptStaffId`` is not in the item, and its ``event_time`` is neither the push's time nor the action's
(captured: 1 s before ``finishTime``). Only an ``eventId``, which no captured item has, makes it the same
event. Type, company, subject and a time that is off by a second name two events as well as one, and are not
taken for an id: a repeat costs one fetch, a false repeat an event (docs/decisions/0047).

An item without the ids that its EventType needs is no event: the consumers that mirror that part of the
company get a resync request. Nothing is dropped for its content. Fields are found by name; their order, which
differs between captures and DingTalk's page, means nothing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dingbridge.events.catalogue import EventSpec, Part, catalogue, part_of
from dingbridge.events.facts import epoch_ms, extract_facts
from dingbridge.events.strict_json import loads

_NESTED: Final = ("bpmscallbackdata", "rolelabelchange", "callbackdata")
"""Under one of these names, by family, is the content of the event
(obtain-the-event-list-of-failed-push-messages)."""
_SUBJECTS: Final = {"userid": "user", "userids": "user", "deptid": "department", "deptids": "department"}
"""Their own names for ids, whatever the event's field is called."""
_CORP: Final = re.compile(r"corpid\"?\s*[=:]\s*\"?([A-Za-z0-9]{1,64})", re.IGNORECASE)
_WRAPPED: Final = {"item"}
"""What our client puts around an item that is no JSON object."""


@dataclass(frozen=True, slots=True)
class ConvertedItem:
    """``body`` is the callback, None for an item that lacks its ids. ``resync``: what is to be
    compared instead. ``time_ms`` is the event's, epoch ms."""

    event_type: str | None
    corp_id: str | None
    time_ms: int | None
    body: bytes | None
    resync: Part | None = None


def convert_item(item: Mapping[str, Any]) -> ConvertedItem:
    """Convert an item of ``get_call_back_failed_result``."""
    tag, time_ms = _tag(item), epoch_ms(item.get("event_time"))
    content = item.get(tag) if tag is not None else None
    named = content if isinstance(content, dict) else {}
    corp_id = _corp(named) or _corp(item) or _corp_in_words(content if tag is not None else item.get("item"))
    if tag is None:
        return _too_poor(None, corp_id, time_ms, item)
    fields = _fields(named)
    if not isinstance(content, dict) and content is not None:
        fields = {"item": content}
    spec = catalogue.get(tag)
    fields = {_spelled(name, spec): value for name, value in fields.items()}
    if _lacks_its_subject(tag, spec, fields):
        return _too_poor(tag, corp_id, time_ms, item)
    body = _compact(_payload(tag, spec, fields, corp_id, time_ms))
    return ConvertedItem(tag, corp_id, time_ms, _dated(body.encode(errors="surrogatepass"), time_ms))


def _dated(body: bytes, time_ms: int | None) -> bytes:
    """``body``, and with it the list's own time if nothing else distinguishes events with the same content:
    all items of a page are received at one time."""
    facts = extract_facts(body)
    if facts.has_identity or facts.event_type is None or time_ms is None:
        return body
    taken = loads(body).keys()
    name = next((name for name in ("TimeStamp", "EventTime") if name not in taken), None)
    return body if name is None else body.rstrip()[:-1] + f',"{name}":{time_ms}}}'.encode()


def _too_poor(
    tag: str | None, corp_id: str | None, time_ms: int | None, item: Mapping[str, Any]
) -> ConvertedItem:
    part = None if tag is None else part_of(tag)
    if part is None:
        # whom it concerns is not known: kept as it is, for an operator, and everything is compared
        body = _compact(item).encode(errors="surrogatepass")
        return ConvertedItem(tag, corp_id, time_ms, body, "all")
    return ConvertedItem(tag, corp_id, time_ms, None, part)


def _lacks_its_subject(tag: str, spec: EventSpec | None, fields: Mapping[str, Any]) -> bool:
    if part_of(tag) is None or spec is None or spec.subject is None:
        return False
    names = set(spec.subject.fields)
    for form in spec.spellings.values():
        names |= {spelled for name, spelled in form.back.items() if name in spec.subject.fields}
    return not any(fields.get(name) for name in names)


def _tag(item: Mapping[str, Any]) -> str | None:
    if (tag := _text(item.get("call_back_tag"))) is not None:
        return tag
    others = [name for name in item if name not in ("event_time", "corpid")]
    return others[0] if len(others) == 1 and set(others) != _WRAPPED else None


def _fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the event, without the company: that is put back in its own place."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        inner = _object(value) if name.lower() in _NESTED else None
        if inner is not None:
            found |= inner
        elif name.lower() != "corpid" and value not in (None, ""):
            found[name] = value
    return found


def _spelled(name: str, spec: EventSpec | None) -> str:
    """The field's name in the old form, where the type has one; the new form's else."""
    if spec is None:
        return name
    kind = _SUBJECTS.get(name.lower())
    if kind is not None and spec.subject is not None and spec.subject.kind == kind:
        name = spec.subject.fields[0]
    old = spec.spellings.get("old")
    return name if old is None else old.back.get(name, name)


def _payload(
    tag: str, spec: EventSpec | None, fields: dict[str, Any], corp_id: str | None, time_ms: int | None
) -> dict[str, Any]:
    if any(name.lower() == "eventtype" for name in fields):  # an approval stands whole in its item
        named = any(name.lower() == "corpid" for name in fields)
        return fields if named or corp_id is None else {**fields, "corpId": corp_id}
    old = None if spec is None else spec.spellings.get("old")
    if old is None:
        head: dict[str, Any] = {"EventType": tag}
        head |= {} if time_ms is None else {"EventTime": time_ms}
        head |= {} if corp_id is None else {"CorpId": corp_id}
        return {**head, **{name: value for name, value in fields.items() if name not in head}}
    corp_name = "CorpId" if "CorpId" in old.fields else "corpId"
    payload: dict[str, Any] = {} if corp_id is None else {corp_name: corp_id}
    payload["EventType"] = tag
    declared = [name for name in old.fields if name in fields]
    for name in [*declared, *sorted(fields.keys() - old.fields.keys())]:
        value, field = fields[name], old.fields.get(name)
        single = field is not None and field.is_list and not isinstance(value, list)
        payload[name] = [value] if single else value
    if time_ms is not None and "TimeStamp" in old.fields:
        payload.setdefault("TimeStamp", str(time_ms) if old.fields["TimeStamp"].wire == "str" else time_ms)
    return payload


def _corp(value: Mapping[str, Any]) -> str | None:
    return next((_text(v) for name, v in value.items() if name.lower() == "corpid" and _text(v)), None)


def _corp_in_words(content: Any) -> str | None:
    found = _CORP.search(content) if isinstance(content, str) else None
    return found[1] if found else None


def _object(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
