"""What is said of one consumer follows from what is known of it, and nothing else is said."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.console.index.records import Copy, Letter
from dingbridge.console.life.brief import MARKS, at_last
from dingbridge.console.life.changes import LONGEST, MOST, Change, changes_by_dingtalk, changes_by_outbound
from dingbridge.console.life.outcome import (
    Facts,
    Outcome,
    Replayed,
    State,
    in_flight_of,
    outcome_of,
    replays_of,
)
from dingbridge.console.life.summary import Summary, summary_of
from dingbridge.console.render import load_words
from dingbridge.worker.context import Position
from dingbridge.worker.store.inbox import Applied

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)


TOPIC = ("t.user_add_org", 0)


RECORD, OTHER = Position(*TOPIC, 5), Position(*TOPIC, 9)


COPIED = Position("ctl.inbox.a", 0, 2)


LETTER = Letter("a", RECORD, Position("ctl.dlq.a", 0, 1), "ValueError at a:1", 4, AT)


COPY = Copy("a", RECORD, "run", COPIED, AT)


ROW, GIVEN_UP = Applied(AT, 3), Applied(AT)


HELD = {
    "state": "retrying",
    "attempts": 2,
    "error": "ValueError at a:1",
    "next_attempt_at": "2026-11-27T12:00:01Z",
}


def facts(**known: Any) -> Facts:
    return Facts("a", **known)


@pytest.mark.parametrize(
    ("known", "state"),
    [
        (facts(inbox={"": ROW}, committed={TOPIC: 9}), "handled"),
        (facts(inbox={"": ROW}, committed={TOPIC: 5}), "handled"),
        (facts(inbox={"other": ROW}, committed={TOPIC: 9}), "passed"),
        (facts(inbox={"": GIVEN_UP}), "dead"),
        (facts(inbox={"": ROW}, letters=(LETTER,)), "dead"),
        (facts(inbox={"": ROW}, letters=(LETTER,), settled={LETTER.place: "run"}), "dead_settled"),
        (facts(inbox={"": ROW}, letters=(replace(LETTER, first=OTHER),)), "dead"),
        (facts(inbox={"": ROW}, letters=(replace(LETTER, replay_id="run"),)), "handled"),
        (facts(committed={TOPIC: 5}, in_flight={RECORD: HELD}), "retrying"),
        (facts(inbox={"": ROW}, in_flight={RECORD: HELD}), "handled"),
        (facts(committed={TOPIC: 5}), "waiting"),
        (facts(committed={TOPIC: 6}), "passed"),
        (facts(committed={TOPIC: 6}, keeps_rows=False), "committed"),
        (facts(committed={TOPIC: 5}, keeps_rows=False), "waiting"),
        (facts(committed={TOPIC: 6}, keeps_rows=False, letters=(LETTER,)), "dead"),
        (facts(committed={("t.user_add_org", 1): 6}), "waiting"),
        (facts(committed=None), "unknown"),
    ],
)
def test_what_is_said_follows_from_what_is_known(known: Facts, state: str) -> None:
    assert outcome_of(RECORD, known).state == state


def test_what_is_said_beside_the_state() -> None:
    assert outcome_of(RECORD, facts(inbox={"": ROW})) == Outcome("handled", AT, attempts=3)
    assert outcome_of(RECORD, facts(committed={TOPIC: 2})) == Outcome("waiting", before=3)
    retried = outcome_of(RECORD, facts(in_flight={RECORD: HELD}))
    assert (retried.attempts, retried.error, retried.again_at) == (2, HELD["error"], HELD["next_attempt_at"])
    dead = outcome_of(RECORD, facts(letters=(LETTER,), settled={LETTER.place: "skipped"}))
    assert (dead.at, dead.attempts, dead.error, dead.settled_by) == (AT, 4, LETTER.error, "skipped")


def test_a_letter_that_is_doubled_is_settled_by_its_double() -> None:
    double = replace(LETTER, place=Position("ctl.dlq.a", 0, 7))
    assert (
        outcome_of(RECORD, facts(letters=(LETTER, double), settled={LETTER.place: "run"})).settled_by == "run"
    )


@pytest.mark.parametrize(
    ("known", "state"),
    [
        (facts(inbox={"run": ROW}), "handled"),
        (facts(inbox={"": ROW}, committed={COPIED[:2]: 2}), "waiting"),
        (facts(inbox={}, in_flight={COPIED: HELD}), "retrying"),
        (facts(letters=(replace(LETTER, replay_id="run", first=COPIED),)), "dead"),
        (facts(letters=(replace(LETTER, replay_id="run"),)), "dead"),
        (facts(inbox={"": ROW}, committed={COPIED[:2]: 3}), "passed"),
    ],
)
def test_a_replay_has_an_outcome_of_its_own(known: Facts, state: str) -> None:
    [replayed] = replays_of(RECORD, replace(known, copies=(COPY,)))
    assert replayed.outcome.state == state


def test_copies_of_the_record_and_of_its_letters_are_replays_of_it_and_no_others() -> None:
    later = Copy("a", LETTER.place, "two", Position("ctl.inbox.a", 0, 3), AT + timedelta(seconds=1))
    strange = Copy("a", OTHER, "three", Position("ctl.inbox.a", 0, 4), AT)
    found = replays_of(RECORD, facts(letters=(LETTER,), copies=(later, strange, COPY)))
    assert [replayed.copy.replay_id for replayed in found] == ["run", "two"]


def test_what_workers_hold_is_found_by_place() -> None:
    record = {**HELD, "topic": TOPIC[0], "partition": 0, "offset": 5}
    assert in_flight_of([{"records": []}, {"records": [record]}]) == {RECORD: record}


KNOWN = st.builds(
    Facts,
    consumer=st.just("a"),
    inbox=st.dictionaries(st.sampled_from(["", "run"]), st.just(ROW)),
    committed=st.none() | st.dictionaries(st.just(TOPIC), st.integers(0, 9)),
    letters=st.lists(st.sampled_from([LETTER, replace(LETTER, first=OTHER)]), max_size=2).map(tuple),
    in_flight=st.dictionaries(st.just(RECORD), st.just(HELD)),
)


@given(KNOWN)
def test_never_handled_without_a_row_and_never_waiting_when_done(known: Facts) -> None:
    outcome = outcome_of(RECORD, known)
    if outcome.state == "handled":
        assert "" in known.inbox
        assert not known.letters
    if outcome.state in ("waiting", "retrying"):
        assert "" not in known.inbox
        assert not known.letters


# -- Event's first sentence, and what an event changed


HANDLED, DEAD, WAITING = Outcome("handled", AT), Outcome("dead", AT), Outcome("waiting", before=2)


PAUSED, PASSED = Outcome("paused"), Outcome("passed")


LATER = Outcome("handled", AT + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("outcomes", "absent", "summary"),
    [
        ({}, (), Summary("nobody")),
        ({"a": HANDLED}, (), Summary("nobody", "a", HANDLED, 1, 1)),
        ({"a": HANDLED, "b": LATER}, (), Summary("nobody", "b", LATER, 2, 2)),
        ({"a": PASSED, "b": LATER}, (), Summary("unknown", "a", PASSED, 1, 2)),
        ({"a": HANDLED, "b": Outcome("committed")}, (), Summary("nobody", "a", HANDLED, 2, 2)),
        ({"a": HANDLED, "b": WAITING}, (), Summary("consumer", "b", WAITING, 1, 2)),
        ({"a": PAUSED, "b": WAITING}, (), Summary("dependency", "a", PAUSED, 0, 2)),
        ({"a": PAUSED, "b": WAITING}, ("b",), Summary("start", "b", WAITING, 0, 2)),
        ({"a": WAITING, "b": DEAD, "c": HANDLED}, ("a",), Summary("operator", "b", DEAD, 1, 3)),
        ({"a": Outcome("unknown"), "b": HANDLED}, (), Summary("kafka", "a", Outcome("unknown"), 1, 2)),
    ],
)
def test_the_sentence_is_about_whose_turn_it_is(
    outcomes: dict[str, Outcome], absent: tuple[str, ...], summary: Summary
) -> None:
    assert summary_of(outcomes, absent) == summary


def test_what_was_sent_back_counts_and_a_letter_that_nothing_settled_waits() -> None:
    again = [Replayed(COPY, HANDLED)]
    assert at_last(Outcome("dead_settled"), again) == HANDLED
    assert at_last(HANDLED, [Replayed(COPY, DEAD)]) == DEAD
    assert at_last(DEAD, again) == DEAD
    assert at_last(HANDLED, []) == HANDLED


def test_every_state_has_its_mark_and_its_words() -> None:
    assert set(MARKS) == set(get_args(State))
    keys = {f"{kind}_{state}" for state in MARKS for kind in ("event.state", "event.where", "find.outcome")}
    assert keys <= load_words().keys()


PREV, CURR = (
    {"name": "甲", "jobNumber": "1", "email": ""},
    {"name": "乙", "jobNumber": "1", "workPlace": "北京"},
)


DIFF = {"prev": PREV, "curr": CURR, "userid": "u1"}


SAID = [Change("name", "甲", "乙"), Change("workPlace", "", "北京")]


@pytest.mark.parametrize(
    "diff", [DIFF, [DIFF], [{**DIFF, "userid": "u2", "curr": {}}, DIFF], {**DIFF, "userid": "u1"}]
)
def test_what_changed_is_said_by_dingtalk(diff: Any) -> None:
    assert changes_by_dingtalk({"diffInfo": diff}, "u1") == SAID


def test_what_changed_is_said_by_outbound() -> None:
    fields = {
        "name": {"old": "甲", "new": "乙"},
        "dept": {"old": [1], "new": [1, 2]},
        "same": {"old": 1, "new": 1},
    }
    assert changes_by_outbound({"fields": fields}) == [SAID[0], Change("dept", "[1]", "[1, 2]")]


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["prev", "curr", "old", "new", "userid"]) | st.text(), inner)
    ),
)


@given(json, st.sampled_from(["diffInfo", "fields"]))
def test_whatever_they_say_ends_no_page(value: Any, name: str) -> None:
    for found in (
        changes_by_dingtalk({name: value}, "u"),
        changes_by_outbound({name: value}),
        changes_by_dingtalk(value, None),
    ):
        assert len(found) <= MOST
        assert all(len(text) <= LONGEST + 1 for one in found for text in (one.before, one.after))
        "".join(one.field + one.before + one.after for one in found).encode()


def test_an_offset_without_an_effect_is_not_known_and_not_done() -> None:
    """A lost effect looks the same; Find and the event's page have one word for it."""
    assert summary_of({"a": PASSED, "b": LATER}) == Summary("unknown", "a", PASSED, 1, 2)
    words = load_words()
    for lang, word in (("en", "not known"), ("zh", "未知")):
        assert words["find.outcome_passed"][lang] == words["find.outcome_unknown"][lang] == word
        for said in ("event.state_passed", "event.where_passed", "event.turn_unknown"):
            assert word in words[said][lang].lower()
