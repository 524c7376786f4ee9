"""Hides private values of a payload when a person looks at it: ids and types stay, all else is masked."""

from typing import Any

_PLAIN = frozenset(
    {"eventtype", "type", "action", "result", "timestamp", "eventtime", "createtime", "finishtime"}
)
_ID_ENDINGS = ("id", "ids", "idlist", "code", "staffid", "corpid")


def mask(value: Any, key: str = "") -> Any:
    """``value`` (as from JSON) with every leaf masked whose ``key`` does not name an id, a type or a time."""
    if isinstance(value, dict):
        return {k: mask(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [mask(item, key) for item in value]
    name = key.lower()
    if value is None or isinstance(value, bool) or name in _PLAIN or name.endswith(_ID_ENDINGS):
        return value
    return f"***({len(value)})" if isinstance(value, str) else "***"
