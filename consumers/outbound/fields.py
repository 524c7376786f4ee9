"""The messages' fields and DingTalk's: reading replies, arguments of write calls, comparing values.

DingTalk leaves a field out where it is empty or where the app may not see it (query-user-details). An absent
text counts as empty; an absent field that everybody has (name, mobile, departments) counts as not shown.
``lacking`` names what may be hidden (``contacts/withheld.py``).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from dingbridge.consumers.outbound.ledger import Fields, Kind
from dingbridge.dingtalk.clock import CHINA
from dingbridge.mirror.withheld import HIDEABLE
from dingbridge.snapshots.coerce import as_bool, as_int, as_list, as_text, china_date, parse_json

DINGTALK_NAMES: Final[dict[Kind, dict[str, str]]] = {
    "user": {
        "name": "name",
        "mobile": "mobile",
        "departments": "dept_id_list",
        "title": "title",
        "jobNumber": "job_number",
        "email": "email",
        "telephone": "telephone",
        "workPlace": "work_place",
        "remark": "remark",
        "hiredOn": "hired_date",
        "manager": "manager_userid",
        "hideMobile": "hide_mobile",
        "extension": "extension",
    },
    "department": {
        "name": "name",
        "parent": "parent_id",
        "order": "order",
        "managers": "dept_manager_userid_list",
    },
}
DINGTALK_IDS: Final[dict[Kind, str]] = {"user": "userid", "department": "deptId"}
"""Where a message gives DingTalk's own id, which is no field to be written."""
NAMES: Final[dict[Kind, tuple[str, ...]]] = {kind: tuple(names) for kind, names in DINGTALK_NAMES.items()}
"""The messages' names of the fields."""

ONCE: Final = frozenset({"mobile"})
"""What can be written at a creation only (user-information-update)."""

CLEARABLE: Final = frozenset({"manager", "managers", "extension"})
"""Fields that DingTalk's pages say how to empty (user-information-update, address-book-update-department)."""

_NEVER_EMPTY: Final = frozenset({"name", "mobile", "departments", "hideMobile", "parent", "order"})


def observed(kind: Kind, reply: Mapping[str, Any]) -> Fields:
    """The fields of a ``v2/user/get`` or ``v2/department/get`` reply."""
    found = {name: _read(name, reply.get(theirs)) for name, theirs in DINGTALK_NAMES[kind].items()}
    return {name: value for name, value in found.items() if value is not None or name not in _NEVER_EMPTY}


def lacking(kind: Kind, reply: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that rights may hide and ``reply`` does not have."""
    names = DINGTALK_NAMES[kind].items() if kind == "user" else ()
    return tuple(name for name, theirs in names if theirs in HIDEABLE and theirs not in reply)


def arguments(kind: Kind, fields: Fields, before: Fields | None = None) -> dict[str, Any]:
    """The fields of the client's create and update calls, by DingTalk's names, without the entity's own id.

    ``before`` is what DingTalk has of an entity that is updated; of ``extension`` only differences are sent.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None and before is None:
            continue  # nothing is there yet that would have to be cleared
        if name == "hiredOn":
            value = _midnight_ms(value)
        elif name == "extension":
            have = (before or {}).get(name) or {}
            value = {key: text for key, text in value.items() if (have.get(key) or "") != text}
        found[DINGTALK_NAMES[kind][name]] = value
    return found


def same(name: str, one: Any, other: Any) -> bool:
    """Whether two values of a field mean the same to DingTalk."""
    return bool(_plain(name, one) == _plain(name, other))


def fulfils(name: str, value: Any, desired: Any) -> bool:
    """Whether DingTalk's ``value`` is as desired, as far as it can be: of ``extension`` only the keys that
    the desired state names count, and a field that cannot be emptied may stay."""
    if desired in (None, "") and name not in CLEARABLE:
        return True
    if name == "extension":
        have = value or {}
        return all((have.get(key) or "") == text for key, text in (desired or {}).items())
    return same(name, value, desired)


def written_over(name: str, value: Any, desired: Any) -> Any:
    """What DingTalk holds once ``desired`` is written where ``value`` was."""
    if name == "extension":
        return _plain(name, {**(value or {}), **(desired or {})})
    return desired


def _text(value: Any) -> str | None:
    return as_text(value) or None


def _ids(value: Any) -> list[Any] | None:
    items = as_list(value)
    return None if items is None else sorted(items, key=str)


def _day(value: Any) -> str | None:
    day = china_date(value)
    return None if day is None else day.isoformat()


def _extension(value: Any) -> dict[str, str]:
    items = parse_json(value) if isinstance(value, str) else value
    return {str(key): as_text(text) or "" for key, text in items.items()} if isinstance(items, dict) else {}


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "departments": _ids,
    "managers": _ids,
    "parent": as_int,
    "order": as_int,
    "hideMobile": as_bool,
    "hiredOn": _day,
    "extension": _extension,
}


def _read(name: str, value: Any) -> Any:
    if value is None and name in _NEVER_EMPTY:
        return None
    reader: Callable[[Any], Any] = _READERS.get(name, _text)
    return reader(value)


def _plain(name: str, value: Any) -> Any:
    """A form in which equal values are equal."""
    if name in ("departments", "managers"):
        return sorted(map(str, value or ()))
    if name == "extension":
        return {key: text for key, text in (value or {}).items() if text}
    if name == "mobile":
        return (value or "").removeprefix("+86").lstrip("-")
    return None if value == "" else value


def _midnight_ms(day: str) -> int:
    """Epoch ms of midnight in China, which is how DingTalk writes a date."""
    return int(datetime.fromisoformat(day).replace(tzinfo=CHINA).timestamp()) * 1000
