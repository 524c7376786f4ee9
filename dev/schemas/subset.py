"""Whether every value of one JSON Schema is a value of another, and where not.

Responsible for the keywords that our schemas use; one that is not known here, and that differs, counts as a
difference, since nobody has judged it. Not responsible for who reads and who writes (``compare``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["type", "values", "limits", "form", "gone", "may be missing", "not taken", "not judged"]
"""What a value may be that it was not: of another type, another constant, beyond a limit, of another pattern
or format, described no longer, absent, a name that a closed object has not."""

Schema = Mapping[str, Any] | bool
"""``True`` takes every value, ``False`` none."""

_LEAST: Final = ("minimum", "minLength", "minItems", "minProperties")
_MOST: Final = ("maximum", "maxLength", "maxItems", "maxProperties")
_TEXTS: Final = ("pattern", "format")
_JUDGED: Final = frozenset(
    {"type", "const", "enum", "properties", "required", "additionalProperties", "items", "anyOf"}
    | {*_LEAST, *_MOST, *_TEXTS}
)
_WORDS_ONLY: Final = frozenset({"title", "description", "examples", "default", "$schema", "$id", "$comment"})
_TYPES: Final = frozenset({"string", "number", "boolean", "object", "array", "null"})


@dataclass(frozen=True, slots=True)
class Difference:
    """``path`` names the value, as ``data.items[].id``; ``words`` say what it was and is."""

    path: str
    kind: Kind
    words: str


def differences(narrow: Schema, wide: Schema, path: str = "") -> Iterator[Difference]:
    """Where a value of ``narrow`` may be none of ``wide``; nothing where each of them is.

    A name that ``wide`` describes and ``narrow`` does not is ``gone``, in a closed object, too: by the letter
    of JSON Schema its absence is no difference there, if it was optional.
    """
    if narrow is False or wide is True:
        return
    if wide is False:
        yield Difference(path, "not taken", "is no longer taken")
        return
    one: Mapping[str, Any] = {} if narrow is True else narrow
    other: Mapping[str, Any] = wide
    for keyword in sorted((one.keys() | other.keys()) - _JUDGED - _WORDS_ONLY):
        if one.get(keyword) != other.get(keyword):
            yield Difference(path, "not judged", f"`{keyword}` differs")
    if "anyOf" in one or "anyOf" in other:
        yield from _any_of(one, other, path)
        return
    ours, theirs = _types(one), _types(other)
    if ours - theirs:
        yield Difference(path, "type", f"{_named(theirs)} became {_named(ours)}")
        return
    if (known := _values(other)) is not None:
        values = _values(one)
        if values is None:
            yield Difference(path, "values", f"{_listed(known)} became any value")
        elif new := [value for value in values if value not in known]:
            yield Difference(path, "values", f"also {_listed(new)}")
    yield from _scalars(one, other, path)
    if "array" in ours and "items" in other:
        yield from differences(one.get("items", True), other["items"], f"{path}[]")
    if "object" in ours:
        yield from _objects(one, other, path)


def branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas of which a value has to be one."""
    return [*schema["anyOf"]] if "anyOf" in schema else [schema]


def _any_of(one: Mapping[str, Any], other: Mapping[str, Any], path: str) -> Iterator[Difference]:
    beside = {
        name: (one.get(name), other.get(name))
        for name in _JUDGED - {"anyOf"}
        if "anyOf" in one and "anyOf" in other and one.get(name) != other.get(name)
    }
    if beside:
        yield Difference(path, "not judged", f"{_listed([*beside])} beside `anyOf` differs")
    said: set[Difference] = set()
    for branch in branches(one):
        found = [[*differences(branch, choice, path)] for choice in branches(other)]
        if all(found):
            # the choice of the same type says it best
            best = min(found, key=lambda faults: (any(f.kind == "type" for f in faults), len(faults)))
            yield from (fault for fault in best if fault not in said)
            said.update(best)


def _scalars(one: Mapping[str, Any], other: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for keyword in (*_LEAST, *_MOST):
        limit, now = other.get(keyword), one.get(keyword)
        if limit is None:
            continue
        if now is None or (now < limit if keyword in _LEAST else now > limit):
            yield Difference(path, "limits", f"`{keyword}` {limit} became {'none' if now is None else now}")
    for keyword in _TEXTS:
        if keyword in other and one.get(keyword) != other[keyword]:
            now = one.get(keyword, "none")
            yield Difference(path, "form", f"`{keyword}` {other[keyword]} became {now}")


def _objects(one: Mapping[str, Any], other: Mapping[str, Any], path: str) -> Iterator[Difference]:
    ours, theirs = one.get("properties", {}), other.get("properties", {})
    rest = other.get("additionalProperties", True)
    for name, schema in ours.items():
        here = joined(path, name)
        if name in theirs:
            yield from differences(schema, theirs[name], here)
        elif rest is False:
            yield Difference(here, "not taken", "is no longer one of its names")
        else:
            yield from differences(schema, rest, here)
    for name in sorted(theirs.keys() - ours.keys()):
        yield Difference(joined(path, name), "gone", "is not described any more")
    required = one.get("required", ())
    for name in other.get("required", ()):
        if name not in required and (name in ours or name not in theirs):
            yield Difference(joined(path, name), "may be missing", "was required")
    open_now = one.get("additionalProperties", True)
    if rest is False and open_now is not False:
        yield Difference(path, "not taken", "takes no names of its own any more")
    elif isinstance(rest, Mapping):
        yield from differences(open_now, rest, joined(path, "*"))


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    """Of ``number`` the integers are a part: both names where numbers are taken."""
    declared = schema.get("type", _TYPES)
    names = frozenset([declared] if isinstance(declared, str) else declared)
    return names | {"integer"} if "number" in names else names


def _values(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _named(types: frozenset[str]) -> str:
    if types >= _TYPES:
        return "any type"
    return " or ".join(sorted(types - {"integer"} if "number" in types else types))


def _listed(values: list[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)
