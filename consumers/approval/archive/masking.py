"""Takes a forgotten person out of an approval's document and events, and leaves everybody else in. Pure.

Ids are known by the names of their fields, so that a form's "1024" is no userid; names, numbers and addresses
are replaced wherever a text holds them. Two names are found without being given: in a title DingTalk puts the
originator's name before ``提交的``, and in a contact field the name stands beside the id.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from dingbridge.masking import SHOWN
from dingbridge.snapshots.coerce import as_json, as_text, parse_json
from dingbridge.worker.store.forgetting import alone

MASK: Final = "***"
SUBMITTED: Final = "提交的"
"""In the title of an approval, between its originator's name and that of its template."""
SHORTEST: Final = 2
"""Characters of a text that is looked for inside of others."""

_ID: Final = re.compile(r"(user|staff|empl|actioner)_?ids?$", re.IGNORECASE)
"""The end of the names of fields that hold userids."""
_NAMES: Final = frozenset({"name", "username", "nick", "orgusername"})
_BESIDE: Final = _NAMES | {"avatar"}
"""Fields beside an id that say the same person otherwise."""
_FORM: Final = "formComponentValues"

Hide = Callable[[Any], Any]
"""Returns a value, as from JSON, without the person."""


def hiding(userid: str, texts: Collection[str]) -> Hide:
    """Masks the person ``userid``, who is called ``texts``."""
    longest_first = sorted((text for text in texts if len(text) >= SHORTEST), key=len, reverse=True)
    called = re.compile("|".join(map(alone, longest_first))) if longest_first else None

    def text(value: str, key: str) -> str:
        if key.lower() in SHOWN:
            return value
        if (inside := parse_json(value)) is not None:
            hidden = hide(inside)
            return value if hidden == inside else as_json(hidden)
        return MASK if value in texts else called.sub(MASK, value) if called else value

    def hide(value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            theirs = any(_is_id(name) and one == userid for name, one in value.items())
            return {
                name: MASK if theirs and one and name.lower() in _BESIDE else hide(one, name)
                for name, one in value.items()
            }
        if isinstance(value, list):
            return [hide(one, key) for one in value]
        if not isinstance(value, str):
            return value
        if _is_id(key):
            return MASK if value == userid else value
        return text(value, key)

    return hide


def people_in(*values: Any) -> set[str]:
    """The userids in documents and events, those of forms too."""
    return {userid for value in values for userid in _ids(value)}


def took_part(document: Mapping[str, Any] | None, *events: Any) -> set[str]:
    """The userids of who started, decided, received or commented it; not whom the form names."""
    return people_in({k: v for k, v in (document or {}).items() if k != _FORM}, *events)


def originator(document: Mapping[str, Any] | None, events: Mapping[str, Any]) -> str | None:
    """The userid of who started it, if anything names one."""
    named = (event["data"].get("staffId") for event in events.values())
    return as_text((document or {}).get("originatorUserId") or next(filter(None, named), None))


def names_of(userid: str, document: Mapping[str, Any] | None, events: Mapping[str, Any]) -> set[str]:
    """What the person is called beside the id, and in the title of what the person started."""
    found = set(_names(document, userid))
    if originator(document, events) == userid:
        found |= names_in_titles(document, events)
    return found - {"", MASK}


def names_in_titles(document: Mapping[str, Any] | None, events: Mapping[str, Any]) -> set[str]:
    """What titles call the originator."""
    titles = [(document or {}).get("title"), *(event["data"].get("title") for event in events.values())]
    parts = ((as_text(title) or "").partition(SUBMITTED) for title in titles)
    return {who.strip() for who, submitted, _ in parts if submitted} - {"", MASK}


def _ids(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _ids(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _ids(one, key)
    elif isinstance(value, str) and value:
        if _is_id(key):
            yield value
        elif (inside := parse_json(value)) is not None:
            yield from _ids(inside)


def _names(value: Any, userid: str) -> Iterator[str]:
    if isinstance(value, str):
        value = parse_json(value)
    if isinstance(value, Mapping):
        if any(_is_id(name) and one == userid for name, one in value.items()):
            yield from (one for name, one in value.items() if name.lower() in _NAMES and isinstance(one, str))
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _names(one, userid)


def _is_id(name: str) -> bool:
    return _ID.search(name) is not None
