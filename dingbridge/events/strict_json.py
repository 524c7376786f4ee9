"""JSON in and out without losing anything, or a word for why that cannot be.

Responsible for: reading bytes as one JSON value exactly as it was sent (integers of any size,
decimals of any precision), refusing what readers in other languages would understand differently,
and writing such values back. Not responsible for what the values mean.

Two ways lead to the same result. The quick one asks orjson to read and to write again: if that
gives back the very bytes, nothing can have been lost, whatever orjson does with duplicate keys or
big integers. Everything else (blanks, escapes, big numbers) goes through the standard library,
which lets us look at every object and every number.
"""

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, NoReturn

import orjson

from dingbridge.errors import BridgeError

MAX_DEPTH = 99
"""Levels of nesting that are passed on; the envelope adds one. Readers stop at different depths (protobuf's
JSON at 100, orjson writes 254, Python about 1000): what all of them can read is published, the rest is kept
as bytes."""

_MAX_DIGITS = 4000  # Python refuses to convert integers beyond 4300 digits to or from text
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Unreadable(BridgeError):
    """Bytes that are not JSON all readers agree on. ``fault`` is the class of the reason:
    ``not-json``, ``duplicate-keys``, ``nan``, ``surrogates`` or ``too-deep``."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(f"unreadable JSON: {fault}")


def loads(raw: bytes) -> Any:
    """Read one JSON value of somebody else's, exactly.

    Returns what ``json.loads`` does, but numbers that a Python ``float`` (or an ``int`` of more than
    4000 digits) would change are ``Decimal``. Raises ``Unreadable``, and nothing else.
    """
    return loads_and_plain(raw)[0]


def loads_and_plain(raw: bytes) -> tuple[Any, bool]:
    """``loads``, and whether ``raw`` is *plain*: ``orjson.loads`` alone returns the same value."""
    value, plain = _read(raw)
    # No value is deeper than it has opening brackets, so the walk is for the odd one only.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise Unreadable("too-deep")
    return value, plain


def loads_own(raw: bytes) -> Any:
    """``loads`` of what we wrote ourselves: its depth is known."""
    return _read(raw)[0]


def _read(raw: bytes) -> tuple[Any, bool]:
    try:
        value = orjson.loads(raw)
        if orjson.dumps(value) == raw:
            return value, True
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    return _loads_slowly(raw), False


def dumps(value: Any) -> bytes:
    """Write what ``loads`` returned: UTF-8, no blanks, every number with all its digits."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits, or a Decimal
        parts: list[str] = []
        _write(value, parts)
        return "".join(parts).encode()


def _loads_slowly(raw: bytes) -> Any:
    try:
        value = json.loads(
            raw.decode(),
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_int,
            parse_constant=_constant,
        )
    except RecursionError:
        raise Unreadable("too-deep") from None
    except ValueError:  # UnicodeDecodeError and JSONDecodeError are both
        raise Unreadable("not-json") from None
    if _ESCAPED_SURROGATE.search(raw) and _has_lone_surrogate(value):
        raise Unreadable("surrogates")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Unreadable("duplicate-keys")
    return value


def _constant(_name: str) -> NoReturn:
    raise Unreadable("nan")


def _int(text: str) -> int | Decimal:
    return int(text) if len(text) <= _MAX_DIGITS else Decimal(text)


def _float(text: str) -> float | Decimal:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Unreadable("nan")  # 1e400 is grammatical, but no reader of doubles can hold it
    if len(text) <= 16 and "e" not in text and "E" not in text:
        return value  # up to 15 significant digits always survive a double
    try:
        exact = Decimal(text)
    except ArithmeticError:  # an exponent that not even a Decimal can hold
        raise Unreadable("nan") from None
    return value if Decimal(repr(value)) == exact else exact


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
    return any(isinstance(item, dict | list) for item in level)


def _has_lone_surrogate(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        waiting.extend(_children(item))
        texts = item if isinstance(item, dict) else (item,) if isinstance(item, str) else ()
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError:
                return True
    return False


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, dict):
        separator = "{"
        for key, item in value.items():
            parts += separator, encode_basestring(key), ":"
            _write(item, parts)
            separator = ","
        parts.append("}" if value else "{}")
    elif isinstance(value, list):
        separator = "["
        for item in value:
            parts.append(separator)
            _write(item, parts)
            separator = ","
        parts.append("]" if value else "[]")
    elif isinstance(value, str):
        parts.append(encode_basestring(value))
    elif isinstance(value, Decimal):
        parts.append(str(value))
    else:
        parts.append(json.dumps(value))
