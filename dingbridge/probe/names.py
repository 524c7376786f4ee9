"""Which names a report may hold. A name can be data: a company's own fields, a person's id as a key.

Shown are the names of our tables (replies, events), and others that are made of the same words, as DingTalk's
are: ``dept_leader_list`` is no table's, but ``dept``, ``leader`` and ``list`` are. Of any other name stands
only how long it is.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from dingbridge.dingtalk.api.shapes import SHAPES, declared
from dingbridge.events.catalogue import Field, catalogue

ENVELOPE: Final = (
    *("errcode", "errmsg", "request_id", "requestid", "sub_code", "sub_msg", "code", "message", "success"),
    *("result", "accessdenieddetail", "requiredScopes"),
)
"""What stands around the result of a reply, on either host."""
_NAME: Final = re.compile(r"[A-Za-z_]{1,48}")
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_CODE: Final = re.compile(r"[A-Za-z]{2,60}(\.[A-Za-z]{2,60}){0,4}|qyapi(_[a-z]{2,20}){1,8}")
_NUMBER_MOST: Final = 10_000_000


def shown(name: str) -> str:
    """``name``, or its length where it may be somebody's."""
    known, words = _known()
    if name in known or (_NAME.fullmatch(name) and all(word in words for word in _words(name))):
        return name
    return f"(unknown name of {len(name)} characters)"


def shown_path(path: str) -> str:
    """The same of each name in a path such as ``dataList[].userId``."""
    return ".".join(shown(part.removesuffix("[]")) + "[]" * part.endswith("[]") for part in path.split("."))


def shown_code(code: Any) -> str | int | None:
    """A code of a refusal, which is a constant of DingTalk's: a small number, words in dots, or a
    permission."""
    if isinstance(code, bool) or code in (None, ""):
        return None
    if isinstance(code, int) and abs(code) < _NUMBER_MOST:
        return code
    text = str(code)
    if text.lstrip("-").isdecimal() and len(text) < 8:
        return text
    return text if _CODE.fullmatch(text) else f"(unknown code of {len(text)} characters)"


def _words(name: str) -> Iterator[str]:
    """The words of a name, in small letters; all of it where it has none."""
    yield from (word.lower() for word in _WORD.findall(name)) if _WORD.search(name) else iter((name,))


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    names = {*ENVELOPE}
    for shape in SHAPES.values():
        names.update(_declared(shape.fields))
    for event_type in catalogue:
        for spelling in catalogue[event_type].spellings.values():
            for spelled, field in spelling.fields.items():
                names.add(spelled)
                names.update(_of_fields((field,)))
    words = {word for name in names for word in _words(name) if len(word) > 1}
    return frozenset(names), frozenset(words)


def _declared(fields: Any) -> Iterator[str]:
    if isinstance(fields, list):
        yield from _declared(fields[0])
    elif isinstance(fields, Mapping):
        for name, kind in fields.items():
            yield from declared(name)[0]
            yield from _declared(kind)


def _of_fields(fields: Iterable[Field]) -> Iterator[str]:
    for field in fields:
        yield field.name
        yield from _of_fields(field.nested)
