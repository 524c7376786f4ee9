"""What is read off a dead letter, which filters admit it, and what settles it."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.replay.copying import copied_headers
from dingbridge.replay.dead_letters import (
    NOTE_HEADER,
    DeadLetterFilter,
    Settled,
    is_note,
    note,
    read_dead_letter,
)

AT = datetime(2026, 11, 25, 4, tzinfo=UTC)
HEADERS = {
    "dingbridge-type": "user_modify_org",
    "dingbridge-dlq-topic": "dingtalk.user_modify_org",
    "dingbridge-dlq-partition": "2",
    "dingbridge-dlq-offset": "41",
    "dingbridge-dlq-error": "KeyError at billing:9 in handle",
    "dingbridge-dlq-attempts": "8",
    "dingbridge-dlq-at": "2026-11-25T04:00:00.000Z",
    "dingbridge-dlq-reason": "no price",
    "dingbridge-dlq-frames": "billing/consumer.py:4 in prepare\nbilling/consumer.py:9 in handle",
}


def record(offset=17, key=b"c1:u1", value=b"{}", partition=1, **headers):
    listed = [(name, text.encode()) for name, text in headers.items()]
    return ConsumerRecord("ctl.dlq.x", partition, offset, 0, 0, key, value, None, 0, 0, listed)


def test_a_letter_is_read_off_its_headers():
    letter = read_dead_letter(record(**HEADERS))
    assert letter.place == "1/17"
    assert letter.first == ("dingtalk.user_modify_org", "2", "41")
    assert (letter.event_type, letter.error) == ("user_modify_org", "KeyError at billing:9 in handle")
    assert (letter.attempts, letter.at, letter.reason) == ("8", AT, "no price")
    assert letter.frames == ("billing/consumer.py:4 in prepare", "billing/consumer.py:9 in handle")
    assert "u1" not in letter.hashed_key


@given(st.dictionaries(st.sampled_from(sorted(HEADERS)), st.binary(max_size=40) | st.none()))
def test_whatever_stands_in_the_headers_a_letter_can_be_read_and_filtered(headers):
    broken = ConsumerRecord("t", 0, 0, 0, 0, None, None, None, 0, 0, list(headers.items()))
    letter = read_dead_letter(broken)
    assert letter.key == letter.hashed_key == "-"
    assert DeadLetterFilter().admits(letter)
    DeadLetterFilter(("a",), ("b",), ("c",), AT, AT).admits(letter)


@pytest.mark.parametrize(
    ("wanted", "admitted"),
    [
        (DeadLetterFilter(events=("user_add_org", "user_modify_org")), True),
        (DeadLetterFilter(events=("user_add_org",)), False),
        (DeadLetterFilter(keys=("c1:u1",)), True),
        (DeadLetterFilter(keys=("u1",)), False),
        (DeadLetterFilter(errors=("ValueError", "billing:9")), True),
        (DeadLetterFilter(errors=("ValueError",)), False),
        (DeadLetterFilter(since=AT), True),
        (DeadLetterFilter(since=AT + timedelta(milliseconds=1)), False),
        (DeadLetterFilter(until=AT), False),
        (DeadLetterFilter(until=AT + timedelta(milliseconds=1)), True),
        (DeadLetterFilter(errors=("no price",)), True),
        (DeadLetterFilter(events=("user_modify_org",), errors=("ValueError",)), False),
    ],
)
def test_every_filter_must_admit_it(wanted, admitted):
    assert wanted.admits(read_dead_letter(record(**HEADERS))) is admitted


def test_a_note_settles_the_letters_of_its_partition_alone():
    noted = record(offset=30, value=note([17, 19]), **{NOTE_HEADER: "run1"})
    broken = record(offset=31, value=b"[17, null", **{NOTE_HEADER: "run2"})
    assert is_note(noted)
    found = Settled()
    found.add(noted)
    found.add(broken)
    assert found.by(read_dead_letter(record(17))) == "run1"
    assert found.by(read_dead_letter(record(18))) is None
    assert found.by(read_dead_letter(record(17, partition=0))) is None


@given(st.lists(st.tuples(st.sampled_from([*HEADERS, "dingbridge-replay-id", "x"]), st.binary(max_size=9))))
def test_a_copy_has_its_records_headers_and_one_replay_id(headers):
    original = ConsumerRecord("t.a", 3, 9, 0, 0, b"k", b"v", None, 0, 0, headers)
    copied = copied_headers(original, "r2")
    ours = {"dingbridge-replay-id", "dingbridge-replay-from"}
    assert [h for h in copied if h[0] not in ours] == [h for h in headers if h[0] not in ours]
    assert [h for h in copied if h[0] in ours] == [
        ("dingbridge-replay-id", b"r2"),
        ("dingbridge-replay-from", b"t.a/3/9"),
    ]


def test_what_settles_a_letter_settles_its_doubles_and_no_other():
    first, double = record(17, **HEADERS), record(40, partition=2, **HEADERS)
    others = [
        record(41, **{**HEADERS, "dingbridge-dlq-offset": "42"}),
        record(42, **HEADERS, **{"dingbridge-replay-id": "run0"}),  # it was replayed, and failed again
        record(43, value=b"{1}", **HEADERS),  # the topic was made anew
        record(45),
        record(46),
    ]
    for noted in (first, double):
        found = Settled()
        for letter in (first, double, *others):
            found.add_dead_letter(read_dead_letter(letter))
        assert {found.by(read_dead_letter(letter)) for letter in (first, double, *others)} == {None}
        value = note([noted.offset])
        found.add(record(50, value=value, partition=noted.partition, **{NOTE_HEADER: "run1"}))
        assert [found.by(read_dead_letter(letter)) for letter in (first, double)] == ["run1", "run1"]
        assert {found.by(read_dead_letter(letter)) for letter in others} == {None}
