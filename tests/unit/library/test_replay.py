"""Dead letters and notes as they are read, sets of offsets, and a command's times and questions."""

import asyncio
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from weakref import finalize

import orjson
import pytest
import typer
from aiokafka import ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.cli.terminal import Progress, confirmed, listed, moment
from dingbridge.kafka.reader import Span
from dingbridge.replay import dead_letter_queue
from dingbridge.replay.copying import copied_headers
from dingbridge.replay.dead_letter_queue import DeadLetterQueue
from dingbridge.replay.dead_letters import (
    NOTE_HEADER,
    DeadLetterFilter,
    Notes,
    is_note,
    note,
    read_dead_letter,
    replayed_as,
)
from dingbridge.replay.offset_set import OffsetSet
from dingbridge.replay.time_range import Range
from dingbridge.settings import KafkaSettings
from dingbridge.worker.context import Position

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
    found.add(record(offset=31, value=note([16, 17]), **{NOTE_HEADER: "run1"}))
    found.add(record(offset=32, value=b"[17, null", **{NOTE_HEADER: "broken"}))
    found.add(record(offset=33, value=note([17, 19]), **{NOTE_HEADER: "run2"}))
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


# -- A queue of any length is a stream


class Topic:
    """Stands in for the reader of a topic of ``count`` letters in each partition, and for the copier. Its
    records are made when they are read, so what is alive is what the code under test holds."""

    def __init__(self, count, partitions=3):
        self.count, self.partitions = count, partitions
        self.alive = self.most = self.under_way = 0
        self.copied, self.notes = [], []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def spans(self, topics):
        [(name, count)] = topics.items()
        return {TopicPartition(name, one): Span(0, self.count) for one in range(count)}

    async def read(self, spans):
        for partition, span in spans.items():
            for offset in range(span.begin, span.end):
                first = {"dingbridge-dlq-offset": f"{partition.partition}{offset}"}
                made = record(offset, partition=partition.partition, **HEADERS | first)
                finalize(made, self._forget)
                self.alive += 1
                self.most = max(self.most, self.alive)
                yield made

    def _forget(self):
        self.alive -= 1

    async def add(self, copied, replay_id):
        self.copied.append((copied.partition, copied.offset))
        self.under_way += 1

    @property
    def full(self):
        return self.under_way >= 100

    async def write(self, topic, partition, value, headers):
        self.notes += [(partition, offset) for offset in orjson.loads(value)]

    async def flush(self):
        self.under_way = 0


async def test_a_queue_of_any_length_is_counted_sent_and_skipped_as_a_stream(monkeypatch):
    topic = Topic(250)
    monkeypatch.setattr(dead_letter_queue, "TopicReader", lambda settings: topic)
    monkeypatch.setattr(dead_letter_queue, "Copier", lambda settings, inbox, partitions: topic)

    async def existing(settings, names):
        return dict.fromkeys(names, topic.partitions)

    async def partitions(settings, consumer, topics):
        return topic.partitions

    monkeypatch.setattr(dead_letter_queue, "existing_topics", existing)
    monkeypatch.setattr(dead_letter_queue, "inbox_partitions", partitions)
    settings, done = KafkaSettings(), []
    everything = sorted((partition, offset) for partition in range(3) for offset in range(250))
    async with DeadLetterQueue(settings, "billing") as queue:
        await queue.replay(await queue.select(DeadLetterFilter()), done.append)
        assert sorted(topic.copied) == sorted(topic.notes) == everything
        assert sum(done) == len(everything)
        topic.notes.clear()
        await queue.skip(await queue.select(DeadLetterFilter(), skip=True), done.append)
        assert sorted(topic.notes) == everything
        assert sum(group.count for group in await queue.groups(DeadLetterFilter())) == len(everything)
    assert topic.most < 10, "records that are held at the same time"


# -- A set of offsets is a set


offsets = st.lists(st.integers(0, 2**40) | st.integers(0, 40_000))


@given(offsets, offsets)
def test_it_holds_what_was_added_and_nothing_else(added, others):
    found = OffsetSet()
    for offset in added:
        found.add(offset)
    for offset in [*added, *others]:
        assert (offset in found) == (offset in set(added))


# -- Times and lists as arguments, the lines of progress in a pipe, and Ctrl-C at a question


NOW = datetime(2026, 11, 25, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T08:00:00+08:00", NOW - timedelta(hours=4)),
        ("2026-11-25T04:00Z", NOW),
        ("90m", NOW - timedelta(minutes=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("45s", NOW - timedelta(seconds=45)),
    ],
)
def test_a_time_is_absolute_with_its_zone_or_so_long_ago(text, expected):
    assert moment(text, "--since", NOW) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-25T08:00:00", "no time zone"),
        ("2026-11-25", "no time zone"),
        ("yesterday", "no time;"),
        ("2026-13-01T00:00Z", "no time;"),
        ("0001-01-01T00:00+08:00", "no time;"),
        ("2w", "no time;"),
        ("", "no time;"),
    ],
)
def test_anything_else_is_refused_with_examples(text, words):
    with pytest.raises(typer.BadParameter, match=words) as refused:
        moment(text, "--since", NOW)
    assert "+08:00" in refused.value.message
    assert refused.value.param_hint == "--since"


def test_a_list_may_be_repeated_and_hold_commas():
    assert listed(["a,b", " b , c", ""]) == ("a", "b", "c")
    assert listed(None) == ()


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(0, 500))
def test_progress_never_passes_its_total_and_says_little(counts, total):
    said = []
    bar = Progress(total, write=said.append)
    for count in counts:
        bar.advance(count)
    assert bar.done == sum(counts) <= bar.total
    assert len(said) <= 10
    assert len(set(said)) == len(said)


ASKED = Range("billing", ("dingtalk.a", "dingtalk.b"), 1_000, 2_000, "c1:u1")


def test_one_question_has_one_replay_id_and_another_question_another():
    same = replace(ASKED, topics=("dingtalk.b", "dingtalk.a"))
    assert same.replay_id == ASKED.replay_id
    others = [
        replace(ASKED, consumer="other"),
        replace(ASKED, topics=("dingtalk.a",)),
        replace(ASKED, from_ms=1_001),
        replace(ASKED, to_ms=None),
        replace(ASKED, key=None),
        replace(ASKED, records=frozenset([Position("dingtalk.a", 0, 7)])),
        replace(ASKED, run="2"),
    ]
    assert len({one.replay_id for one in (ASKED, *others)}) == 1 + len(others)


def test_ctrl_c_at_the_question_ends_the_command_at_once(monkeypatch):
    """The event loop would only take a note of the first one, and ``input`` go on waiting."""
    went_on, before = [], signal.getsignal(signal.SIGINT)

    def asked(question, err):
        signal.raise_signal(signal.SIGINT)
        went_on.append(question)
        return True

    async def command():
        return confirmed("Send 401 record(s)?", yes=False)

    monkeypatch.setattr(typer, "confirm", asked)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(command())
    assert went_on == []
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_terminal_a_script_says_yes_or_nothing_is_done(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert confirmed("Delete it?", yes=True)
    with pytest.raises(typer.BadParameter, match="Delete it"):
        confirmed("Delete it?", yes=False)
