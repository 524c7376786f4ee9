"""What DingTalk takes as a field of a write: checked before a call, and put into the form that it wants.

Where DingTalk's sources disagree about a limit, the smaller one stands here. Nothing is sent when a field is
refused: ``InvalidField`` names it, and never its value.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dingbridge.dingtalk.errors import InvalidField

Encode = Callable[[Any], Any]
"""A value in the form that goes to DingTalk. Raises ``ValueError`` with what is wrong, for "mobile …"."""

DEPARTMENTS_MOST: Final = 100
EXTENSION_MOST: Final = 2000
_IN_NO_DEPARTMENT_NAME: Final = "-,，"


def text(most: int, least: int = 0) -> Encode:
    """A text of ``least`` to ``most`` characters."""

    def encode(value: Any) -> str:
        if least and value in (None, ""):
            raise ValueError("is empty, and no page of DingTalk's says how to empty it")
        if not isinstance(value, str):
            raise ValueError("is no text")
        if not least <= len(value) <= most:
            raise ValueError(f"has {len(value)} characters; DingTalk takes {least} to {most}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("holds half a character (a lone surrogate)")
        return value

    return encode


def whole_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("is no whole number")
    return value


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def listed(most: int, least: int = 0) -> Encode:
    """A list of ids, which DingTalk wants as one text with commas."""

    def encode(value: Any) -> str:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError("is no list")
        if not least <= len(value) <= most:
            raise ValueError(f"has {len(value)} entries; DingTalk takes {least} to {most}")
        ids = [str(item) for item in value]
        if any(not item or "," in item for item in ids):
            raise ValueError("has an entry that is empty or holds a comma")
        return ",".join(ids)

    return encode


def extension(value: Any) -> str:
    """Custom fields, name to text, which DingTalk wants as JSON inside a text. ``None`` empties one."""
    if not isinstance(value, Mapping):
        raise ValueError("is no object of texts")
    if not all(isinstance(item, str) or item is None for item in value.values()):
        raise ValueError("has a value that is no text")
    inside = {str(name): item or "" for name, item in value.items()}
    return str(text(EXTENSION_MOST, 1)(json.dumps(inside, ensure_ascii=False)))


def department_name(value: Any) -> str:
    name = str(text(64, 1)(value))
    if any(character in _IN_NO_DEPARTMENT_NAME for character in name):
        raise ValueError("holds a hyphen or a comma, which no department's name may")
    return name


USER: Final[Mapping[str, Encode]] = {
    "userid": text(64, 1),
    "name": text(80, 1),
    "mobile": text(32, 1),
    "dept_id_list": listed(DEPARTMENTS_MOST, 1),
    "title": text(200, 1),
    "job_number": text(50, 1),
    "email": text(50, 1),
    "telephone": text(50, 1),
    "work_place": text(50, 1),
    "remark": text(1024, 1),
    "hired_date": whole_number,
    "manager_userid": text(64, 1),
    "hide_mobile": truth,
    "extension": extension,
}
"""Fields of user-information-creation and user-information-update."""

DEPARTMENT: Final[Mapping[str, Encode]] = {
    "dept_id": whole_number,
    "name": department_name,
    "parent_id": whole_number,
    "order": whole_number,
    "source_identifier": text(128, 1),
    "dept_manager_userid_list": listed(100),
}
"""Fields of address-book-creation-department-established-department and address-book-update-department."""


def encoded(api: str, known: Mapping[str, Encode], fields: Mapping[str, Any]) -> dict[str, Any]:
    """``fields`` in the form that goes to DingTalk. Raises ``InvalidField`` for the first that it would not
    take, or that is not among ``known``."""
    return {name: checked(api, name, known.get(name, _unknown), value) for name, value in fields.items()}


def checked(api: str, name: str, encode: Encode, value: Any) -> Any:
    """One value in the form that goes to DingTalk. Raises ``InvalidField``."""
    try:
        return encode(value)
    except ValueError as fault:
        words = str(fault)
    raise InvalidField(api, name, words)


def _unknown(value: Any) -> Any:
    raise ValueError("is no field of this call")
