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
    Notes,
    is_note,
    note,
    read_dead_letter,
    replayed_as,
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


def test_what_a_handler_said_shows_no_ticket():
    said = {**HEADERS, "dingbridge-dlq-reason": "no answer to {'SuiteTicket': 's3cr3t'}"}
    assert read_dead_letter(record(**said)).reason == "no answer to {'SuiteTicket': ***'}"


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


def test_the_newest_note_that_names_a_letter_settles_it():
    found = Notes()
    assert is_note(record(offset=33, value=note([17, 19]), **{NOTE_HEADER: "run2"}))
    found.add(record(offset=33, value=note([17, 19]), **{NOTE_HEADER: "run2"}))
    found.add(record(offset=32, value=b"[17, null", **{NOTE_HEADER: "broken"}))
    found.add(record(offset=31, value=note([16, 17]), **{NOTE_HEADER: "run1"}))
    assert [found.by(offset) for offset in (16, 17, 18, 19)] == ["run1", "run2", None, "run2"]


@pytest.mark.parametrize(
    "value", [note([5, 33, 34, 1 << 40, -1]), b'[5, "7", true, null, 9.0, [8], 1e30, 99999999999999999999]']
)
def test_a_note_settles_nothing_but_whole_offsets_before_its_own(value):
    found = Notes()
    found.add(record(offset=33, value=value, **{NOTE_HEADER: "run"}))
    settled = [offset for offset in (0, 1, 5, 7, 8, 9, 33, 34, 1 << 40) if found.by(offset) is not None]
    assert settled == [5]


@pytest.mark.parametrize(
    "value", [None, b"", b"5", b"{}", b'{"5": 1}', b"null", b"[" * 9_000, b"[1e999]", b"\xff"]
)
def test_a_note_that_cannot_be_read_settles_nothing(value):
    found = Notes()
    found.add(record(offset=33, value=value, **{NOTE_HEADER: "run"}))
    assert [offset for offset in range(40) if found.by(offset) is not None] == []


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


def test_doubles_of_one_letter_are_sent_under_one_replay_id_and_no_others():
    letter, double = record(17, **HEADERS), record(40, partition=2, **HEADERS)
    others = [
        record(41, **{**HEADERS, "dingbridge-dlq-offset": "42"}),
        record(42, **HEADERS, **{"dingbridge-replay-id": "run0"}),  # it was replayed, and failed again
        record(43, value=b"{1}", **HEADERS),  # the topic was made anew
        record(45),
        record(46),
    ]
    ids = [replayed_as(read_dead_letter(one), None) for one in (letter, double, *others)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 1 + len(others)
    # sent again though it was settled: another id, the same for all who saw that note
    again = replayed_as(read_dead_letter(letter), "run1")
    assert again not in ids
    assert again == replayed_as(read_dead_letter(double), "run1")
    assert again != replayed_as(read_dead_letter(letter), "run2")
