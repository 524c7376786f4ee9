"""DingTalk's JSON values as values that both databases can store. Pure; never raises.

DingTalk's documentation prints numbers and lists as strings where the wire has numbers and lists, and leaves
a field out where it is empty or not permitted (query-user-details), so each function takes either spelling,
and returns None for a value that is absent or does not fit.
"""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any, NoReturn

from dingbridge.dingtalk.clock import CHINA
from dingbridge.dingtalk.replies import boolean, integer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = range(-(2**63), 2**63)


def as_text(value: Any) -> str | None:
    """Text as it is, an object or a list as JSON text. What PostgreSQL's text cannot hold (NUL, lone
    surrogates) becomes ``\\ufffd``."""
    if value is None:
        return None
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, bool | list | dict):
        return as_json(value)
    return str(value)


def as_int(value: Any) -> int | None:
    """A 64-bit integer, from a number or its digits."""
    number = integer(value)
    return number if number is not None and number in _INT64 else None


def as_bool(value: Any) -> bool | None:
    """True or False, from a boolean, 0 or 1, or their spelling as text."""
    return boolean(value)


def as_list(value: Any) -> list[Any] | None:
    """A list, from a list or its JSON text; None when absent, which is not the same as empty."""
    if isinstance(value, str):
        value = parse_json(value)
    return value if isinstance(value, list) else None


def china_date(value: Any) -> date | None:
    """The date in China of a time in epoch milliseconds: DingTalk gives a date as its midnight there."""
    moment = from_epoch_ms(value)
    try:
        return None if moment is None else moment.astimezone(CHINA).date()
    except (OverflowError, ValueError):
        return None


def from_epoch_ms(value: Any) -> datetime | None:
    """A point in time (aware, UTC) from epoch milliseconds."""
    milliseconds = as_int(value)
    if milliseconds is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def as_json(value: Any) -> str:
    """Canonical JSON text, readable (Chinese as it is): equal values give equal texts."""
    return storable(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


def parse_json(text: str) -> Any:
    """The object or list that ``text`` spells, else None: a plain number or word is no JSON here."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return None


def _no_json(word: str) -> NoReturn:
    """NaN and Infinity, which Python alone would take."""
    raise ValueError(f"{word} is no JSON")


def storable(text: str) -> str:
    """``text`` without what PostgreSQL's text refuses."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return text.replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
