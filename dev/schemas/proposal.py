"""A catalogue entry for an EventType that nobody described, from the records that were seen of it.

Responsible for: names, types, marks and what is optional, so that what was seen does not drift from the
entry. Not responsible for what nobody can see: titles, family, page, subject and the meaning of values are
blank, or absent, for a person to fill in. Names that are no identifiers are left out: what is keyed by people
is data.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from dingbridge.events.catalogue import catalogue
from dingbridge.schema.drift import FIELD
from dingbridge.schema.model import MAX_INTEGER

_MS_NAME = re.compile(r"(time|date|stamp|at)$", re.IGNORECASE)
_ID_NAME = re.compile(r"(^|_|user|corp|dept|biz|staff)ids?$|[a-z](Id|ID)s?$")
_MS_DIGITS = re.compile(r"1[0-9]{12}")
_MOST_NAMES: Final = 200
"""More names than these in one object are keys, and no fields."""


class Observed:
    """What was seen of one type: ``add`` each record's data, then ask for the ``entry``."""

    def __init__(self) -> None:
        self._seen = _Seen()

    @property
    def records(self) -> int:
        """How many were added."""
        return self._seen.count

    def add(self, data: Mapping[str, Any]) -> None:
        """``data`` as DingTalk spelled it, without its EventType."""
        self._seen.add(data)

    def entry(self) -> dict[str, Any]:
        """An entry of ``events`` in ``catalogue.json``."""
        fields = self._seen.fields
        declared = {
            name + ("?" if seen.count < self.records else ""): _declared(name, seen, top=True)
            for name, seen in fields.items()
            if FIELD.fullmatch(name)
        }
        head = catalogue.envelope
        is_new = all(declared.get(name) == text for name, text in head.items() if name[-1] != "?")
        if is_new:
            texts = {name.rstrip("?"): text for name, text in head.items()}
            declared = {name: text for name, text in declared.items() if texts.get(name.rstrip("?")) != text}
        blank = {"title": {"zh": "", "en": ""}, "family": "", "page": ""}
        return {**blank, "new" if is_new else "old": declared}


class _Seen:
    """All values that were seen in one place."""

    def __init__(self) -> None:
        self.count = 0
        self.kinds: set[str] = set()
        self.fields: dict[str, _Seen] = {}
        self.items: _Seen | None = None
        self.is_ms = self.is_exact = True

    def add(self, value: Any) -> None:
        self.count += 1
        kind = _kind(value)
        self.kinds.add(kind)
        self.is_ms = self.is_ms and kind in ("int", "str") and bool(_MS_DIGITS.fullmatch(str(value)))
        self.is_exact = self.is_exact and not (kind == "int" and abs(value) > MAX_INTEGER)
        if kind == "object":
            for name, inner in value.items():
                if name in self.fields or len(self.fields) <= _MOST_NAMES:
                    self.fields.setdefault(name, _Seen()).add(inner)
        elif kind == "list":
            self.items = self.items or _Seen()
            for entry in value:
                self.items.add(entry)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    for kind, cls in (("str", str), ("int", int), ("float", float | Decimal), ("object", dict)):
        if isinstance(value, cls):
            return kind
    return "list"


def _declared(name: str, seen: _Seen, *, top: bool) -> Any:
    """In the catalogue's grammar."""
    if seen.kinds == {"object"}:
        return _nested(seen)
    if seen.kinds == {"list"} and seen.items is not None:
        if seen.items.kinds == {"object"}:
            inner = _nested(seen.items)
            return "list[object]" if isinstance(inner, str) else [inner]
        scalar, _, mark = _scalar(name, seen.items, top=top).partition(" ")
        if mark == "id":
            return f"list[{scalar}] id"
        return f"list[{scalar if len(seen.items.kinds) == 1 or scalar == 'float' else 'any'}]"
    return _scalar(name, seen, top=top)


def _nested(seen: _Seen) -> Any:
    usable = len(seen.fields) <= _MOST_NAMES and all(FIELD.fullmatch(name) for name in seen.fields)
    if not seen.fields or not usable:
        return "object"
    return {name: _declared(name, inner, top=False) for name, inner in seen.fields.items()}


def _scalar(name: str, seen: _Seen, *, top: bool) -> str:
    """``top``: there ids and times of either type become one."""
    kinds = seen.kinds
    one_type = len(kinds) == 1 or top
    if kinds and kinds <= {"int", "str"} and one_type and (seen.is_exact or top):
        wire = "str" if "str" in kinds else "int"
        if _ID_NAME.search(name):
            return f"{wire} id"
        if _MS_NAME.search(name) and seen.is_ms:
            return f"{wire} ms"
    if not seen.is_exact:
        return "any"
    if kinds in ({"float"}, {"int", "float"}):
        return "float"
    return next(iter(kinds)) if kinds in ({"str"}, {"int"}, {"bool"}) else "any"
