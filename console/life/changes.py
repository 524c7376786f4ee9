"""What an event changed, field by field: from DingTalk's own event, or from outbound's report. Pure,
total."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dingbridge.masking import reveal

MOST: Final = 50
LONGEST: Final = 200
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """``before`` and ``after`` as a page shows them; empty where there was or is nothing."""

    field: str
    before: str
    after: str


def changes_by_dingtalk(data: Any, subject: str | None) -> list[Change]:
    """By the ``diffInfo`` of ``user_modify_org``, of the user ``subject``. DingTalk documents an object, and
    sends a list of them: ``{"prev": {field: value}, "curr": {field: value}, "userid": …}``."""
    diffs = _mapping(reveal(data)).get("diffInfo")
    found: dict[Any, tuple[Any, Any]] = {}
    for one in diffs if isinstance(diffs, list) else [diffs]:
        if isinstance(one, Mapping) and one.get("userid", subject) == subject:
            before, after = _mapping(one.get("prev")), _mapping(one.get("curr"))
            found |= {name: (before.get(name), after.get(name)) for name in [*before, *after]}
    return list(_changed(found))[:MOST]


def changes_by_outbound(data: Any) -> list[Change]:
    """By the ``fields`` of a ``com.dingbridge.change``: ``{field: {"old": value, "new": value}}``."""
    fields = _mapping(_mapping(reveal(data)).get("fields"))
    found = {name: (_mapping(one).get("old"), _mapping(one).get("new")) for name, one in fields.items()}
    return list(_changed(found))[:MOST]


def _changed(found: Mapping[Any, tuple[Any, Any]]) -> Iterator[Change]:
    for name, values in found.items():
        before, after = map(_shown, values)
        if before != after:
            yield Change(_shown(name), before, after)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode()  # half a character is no text
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
