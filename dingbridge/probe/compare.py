"""Compares a reply with its declaration in the table. Pure; the result holds no values."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from dingbridge.dingtalk.api.shapes import Fields, declared
from dingbridge.dingtalk.replies import boolean, integer
from dingbridge.probe.names import ENVELOPE, shown

DEEPEST = 16

Kind = Literal["missing", "type", "loose", "value", "unknown"]


class Difference(NamedTuple):
    """One difference between a reply and the table. ``loose``: a number or boolean as text, or a
    number for a text. ``seen`` is a type, or for a ``value`` how long it is."""

    kind: Kind
    path: str
    declared: str = ""
    seen: str = ""


def differences(fields: Fields, body: Any) -> list[Difference]:
    """Each once, in the order in which they stand in the reply's declaration."""
    if not isinstance(body, dict):
        return [Difference("type", "(reply)", "object", type_of(body))]
    inside = {name: value for name, value in body.items() if name in _names(fields) or name not in ENVELOPE}
    return list(dict.fromkeys(_object(fields, inside, "")))


def type_of(value: Any) -> str:
    """JSON's name for a value's type; ``int`` and ``number`` apart."""
    names = {bool: "bool", int: "int", float: "number", str: "str", list: "list", dict: "object"}
    return names.get(type(value), "null")


def _names(fields: Fields) -> set[str]:
    return {spelled for name in fields for spelled in declared(name)[0]}


def _object(fields: Fields, value: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for name, kind in fields.items():
        spellings, optional = declared(name)
        found = next((spelled for spelled in spellings if value.get(spelled) is not None), None)
        if found is not None:
            yield from _value(kind, value[found], _below(path, found))
        elif not optional:
            yield Difference("missing", _below(path, spellings[0]), _said(kind))
    for name in value.keys() - _names(fields):
        yield Difference("unknown", _below(path, shown(name)), "", type_of(value[name]))


def _value(kind: Any, value: Any, path: str) -> Iterator[Difference]:
    wanted, seen = _said(kind), type_of(value)
    if wanted == "any":
        return
    if wanted != seen:
        yield Difference("loose" if _alike(wanted, value) else "type", path, wanted, seen)
    elif isinstance(kind, Mapping):
        yield from _object(kind, value, path)
    elif wanted == "list":
        entry = kind[0] if isinstance(kind, list) else kind.removeprefix("list[").removesuffix("]")
        for item in value:
            yield from _value(entry, item, path + "[]")
    elif " " in kind and value and value not in kind.partition(" ")[2].split("|"):
        yield Difference("value", path, "", f"{len(value)} characters")


def _alike(wanted: str, value: Any) -> bool:
    """Whether the client reads ``value`` like what is wanted: both spellings are in the documents."""
    if wanted == "int":
        return integer(value) is not None and not isinstance(value, float)
    if wanted == "bool":
        return boolean(value) is not None
    return wanted == "str" and isinstance(value, int) and not isinstance(value, bool)


def _said(kind: Any) -> str:
    if isinstance(kind, Mapping):
        return "object"
    return "list" if isinstance(kind, list) or kind.startswith("list[") else str(kind).partition(" ")[0]


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@dataclass
class FieldSeen:
    """The values of replies in one place: how many, their types, their lengths (a text's characters, a
    number's digits, a list's or an object's entries)."""

    times: int = 0
    types: Counter[str] = field(default_factory=Counter)
    shortest: int | None = None
    longest: int | None = None

    def add(self, value: Any) -> None:
        self.times += 1
        self.types[type_of(value)] += 1
        if value is None or isinstance(value, bool):
            return
        length = len(value) if isinstance(value, str | list | dict) else len(str(value).lstrip("-"))
        self.shortest = length if self.shortest is None else min(self.shortest, length)
        self.longest = length if self.longest is None else max(self.longest, length)


def fields_of(body: Any, into: dict[str, FieldSeen], path: str = "", depth: int = 0) -> None:
    """Add the value in each place of a reply. Texts that hold JSON are not parsed."""
    if path:
        into.setdefault(path, FieldSeen()).add(body)
    if depth >= DEEPEST:
        return
    if isinstance(body, dict):
        for name, value in body.items():
            fields_of(value, into, _below(path, shown(name)), depth + 1)
    elif isinstance(body, list):
        for value in body:
            fields_of(value, into, path + "[]", depth + 1)
