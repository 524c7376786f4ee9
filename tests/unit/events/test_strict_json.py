import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.events.strict_json import MAX_DEPTH, Unreadable, dumps, loads
from tests.unit.events.strategies import encode, values


def fault_of(raw: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        loads(raw)
    return caught.value.fault


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b'{"a":1}x', "not-json"),
        (b"\xef\xbb\xbf{}", "not-json"),
        (b'"\xed\xa0\x80"', "not-json"),
        ('{"a":1}'.encode("utf-16"), "not-json"),
        (b'["a\nb"]', "not-json"),
        (b'{"a":1,"a":1}', "duplicate-keys"),
        (b'{"a":1, "\\u0061":2}', "duplicate-keys"),
        (b'[{"x":{"a":1,"b":2,"a":3}}]', "duplicate-keys"),
        (b"[NaN]", "nan"),
        (b"[-Infinity]", "nan"),
        (b"[1e400]", "nan"),
        (b"[1e-99999999999999999999]", "nan"),
        (b"[-0e99999999999999999999]", "nan"),
        (b'["\\ud800"]', "surrogates"),
        (b'{"\\uDFFF":1}', "surrogates"),
        (b'["\\ude00\\ud83d"]', "surrogates"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "too-deep"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "too-deep"),
        (b"[" * 300 + b"]" * 300, "too-deep"),
        (b"[" * 1000 + b"]" * 1000, "too-deep"),
        (b"[" * 200_000, "too-deep"),
    ],
)
def test_what_readers_would_disagree_about_is_refused(raw: bytes, fault: str) -> None:
    assert fault_of(raw) == fault


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        b"[" * (MAX_DEPTH - 1) + b"1" + b"]" * (MAX_DEPTH - 1),
        b"[[]," + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"]",
        b"[" + b"[]," * 500 + b"[]]",
        '["\U0001f600","\\u0000"]'.encode(),
        b'{"a":[],"b":{},"c":null,"d":true}',
        b"18446744073709551615",
        b"18446744073709551616",
        b"-9223372036854775809",
        b"1" * 5000,
        b"0.1000000000000000000000000000000001",
        b"1234567890123456.78",
    ],
)
def test_what_is_read_is_written_back_to_the_byte(raw: bytes) -> None:
    assert dumps(loads(raw)) == raw


def test_an_escaped_pair_of_surrogates_is_a_character() -> None:
    assert loads(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


def test_a_number_that_a_double_would_change_is_a_decimal() -> None:
    assert loads(b"[0.10000000000000001,0.1,1e2]") == [Decimal("0.10000000000000001"), 0.1, 100.0]
    assert type(loads(b"[1e-400]")[0]) is Decimal


def test_a_big_integer_is_an_int() -> None:
    value = loads(b"[123456789012345678901234567890]")[0]
    assert (type(value), value) == (int, 123456789012345678901234567890)


_mantissas = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?", fullmatch=True)
_exponents = st.integers(-400, 400) | st.integers(-(10**22), -(10**17))


@given(_mantissas | st.builds("{}e{}".format, _mantissas, _exponents))
def test_any_number_is_read_exactly_or_refused(text: str) -> None:
    try:
        value = loads(text.encode())
    except Unreadable:
        return
    assert Decimal(str(value)) == Decimal(text)
    assert loads(dumps(value)) == value


@given(values, st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_any_writing_of_a_value_reads_as_that_value(
    value: Any, separators: tuple[str, str], ascii_: bool
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_, separators=separators).encode()
    assert repr(loads(raw)) == repr(value)
    assert repr(json.loads(dumps(loads(raw)))) == repr(value)


@given(values)
def test_the_quick_way_is_taken_only_where_it_gives_what_the_careful_one_gives(value: Any) -> None:
    raw = encode(value)
    assert repr(loads(raw)) == repr(loads(raw + b" "))  # a blank at the end: never byte for byte


@given(st.binary(max_size=60))
def test_total(raw: bytes) -> None:
    try:
        value = loads(raw)
    except Unreadable:
        return
    assert dumps(value) == orjson.dumps(value)
