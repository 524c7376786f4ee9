"""The contract, file by file: callbacks of each family, and those that DingTalk was seen to send."""

import json
import random
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.events import Received, catalogue, decode, extract_facts, to_records
from dingbridge.events.strict_json import MAX_DEPTH, Unreadable, dumps, loads, loads_and_plain
from dingbridge.ingress.stream.frames import new_callback, read
from dingbridge.schema.drift import drift_in
from tests.support.sizes import sized
from tests.unit.events.golden import Golden, compact, load_all, load_captured
from tests.unit.events.strategies import encode, texts, values

CAPTURED = load_captured()


GOLDENS = load_all() + CAPTURED


STREAM = [golden for golden in CAPTURED if golden.via == "stream"]


def name_of(golden: Golden) -> str:
    return golden.path.stem


@pytest.mark.parametrize("golden", GOLDENS, ids=name_of)
def test_golden(golden: Golden) -> None:
    # Compared as text: 1 and 1.0 and True are equal in Python, and not to a reader.
    found = golden.outcome()
    assert json.dumps(found, indent=1) == json.dumps({n: golden.document[n] for n in found}, indent=1)
    if golden in CAPTURED:
        assert [record["fault"] for record in found["after"]] == [None] * len(found["after"])
        # what is put together from a list is not asked for drift, and has none either
        [first, *_] = to_records(Received(1, "j1", 1, "default", "http", golden.body), drift_in)
        assert (first.known, first.drift) == (True, ())


def test_the_form_of_the_content_hash_is_fixed() -> None:
    """Changing it would make every stored dedupe key and inbox row miss its repeat on upgrade."""
    golden = next(g for g in GOLDENS if g.path.stem == "contact.old-org_change")
    assert golden.body == b'{"EventType":"org_change","TimeStamp":"1731000000123","CorpId":"dingcorp01"}'
    value = golden.outcome()["after"][0]["value"]
    assert value["id"] == "f4747745d2fb6e691ac275a15677b099db083a8df1c77b83c51c52d59a07747c"


KNOWN = {
    name.lower()
    for event_type in catalogue
    for spelling in catalogue[event_type].spellings.values()
    for wire, field in spelling.fields.items()
    for name in (wire, field.name)
}


unknown_fields = st.dictionaries(texts.filter(lambda name: name.lower() not in KNOWN), values, max_size=3)


@settings(max_examples=sized(80, 2_000, quick=30))
@given(st.sampled_from(CAPTURED), unknown_fields, st.randoms(use_true_random=False))
def test_another_order_and_fields_that_nobody_knows_change_nothing_else(
    golden: Golden, more: dict[str, Any], rng: random.Random
) -> None:
    payload = json.loads(golden.body)
    items = list((more | payload).items())
    rng.shuffle(items)
    changed = compact(dict(items)).encode()
    # a number of many digits makes a callback one that is not plain
    assert extract_facts(changed)._replace(plain=True) == extract_facts(golden.body)

    def facts(body: bytes) -> list[tuple[Any, ...]]:
        found = []
        for record in to_records(Received(1, "j1", 1_731_000_000_000, "default", golden.via, body)):
            event = decode(record.value)
            data = {name: value for name, value in event.data.items() if name not in more or name in payload}
            named = event.id if ":" in event.id else None  # else it is a hash of the bytes
            found.append(
                (event.type, event.subject, event.time, event.form, record.resync, record.key, named, data)
            )
        return found

    assert facts(changed) == facts(golden.body)


@pytest.mark.parametrize("golden", STREAM, ids=name_of)
def test_a_frame_that_is_pushed_again_is_the_same_event(golden: Golden) -> None:
    first, again = (golden.frame("m1", 1_731_000_000_400), golden.frame("m2", 1_731_000_060_400))
    entry, repeated = (new_callback(read(frame), "default") for frame in (first, again))
    facts = entry.facts
    assert (entry.body, entry.key) == (repeated.body, repeated.key)
    assert facts.has_identity
    headers = golden.document["headers"]
    assert (facts.event_type, facts.corp_id) == (headers["eventType"], headers["eventCorpId"])
    assert (facts.event_id, facts.time_ms) == (headers["eventId"], int(headers["eventBornTime"]))
    kept = json.loads(entry.body)
    assert {"EventType", "CorpId", "EventTime", "eventId"} <= kept.keys()
    assert golden.document["data"].items() <= kept.items()


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
    _, plain = loads_and_plain(raw)
    assert not plain or repr(orjson.loads(raw)) == repr(loads(raw))
    assert loads_and_plain(raw + b" ")[1] is False


@given(st.binary(max_size=60))
def test_total(raw: bytes) -> None:
    try:
        value = loads(raw)
    except Unreadable:
        return
    assert dumps(value) == orjson.dumps(value)
