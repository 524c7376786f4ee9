"""Cruelties by name, as data: each is a rule of ``faults.py``, asked for by ``{"cruelty": "half-json"}``.

A rule is a path (``api``, ``match``), a count or a time (``after``, ``every``, ``times``, ``for_s``) and an
effect (``kind`` and what belongs to it). What is given beside the name replaces that of the table.
"""

from collections.abc import Mapping
from typing import Any, Final

_HIDDEN: Final = ("mobile", "email", "job_number", "title", "work_place", "role_list")
"""Fields of a person that a permission hides (``fieldMobile``, ``fieldEmail`` and the like)."""

CRUELTIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "pages-repeat": {"api": "v2/user/list", "kind": "repeat", "times": 3},
    "pages-never-end": {"api": "v2/user/list", "kind": "repeat"},
    "pages-without-list": {"kind": "edit", "drop": ["result.list"]},
    "moved-while-read": {
        "api": "v2/department/listsub",
        "kind": "act",
        "action": "move_department",
        "after": 1,
        "times": 1,
    },
    "html": {"kind": "ban", "status": 200, "every": 3},
    "half-json": {"kind": "half", "every": 3},
    "no-result": {"kind": "edit", "drop": ["result"], "every": 3},
    "short-tokens": {"kind": "expire", "every": 7},
    "one-fails": {"api": "v2/user/get", "kind": "http", "status": 500},
    "late-4-s": {"kind": "late", "lag_ms": 4_000},
    "late-8-min": {"kind": "late", "lag_ms": 480_000},
    "fields-hidden": {
        "kind": "edit",
        "drop": [f"{place}.{name}" for place in ("result", "result.list") for name in _HIDDEN],
    },
    "no-such-user": {"api": "v2/user/get", "kind": "errcode", "errcode": 60121},
}
