"""Event's first sentence, and what an event changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.console.life.brief import MARKS, at_last
from dingbridge.console.life.changes import LONGEST, MOST, Change, changes_by_dingtalk, changes_by_outbound
from dingbridge.console.life.outcome import Outcome, Replayed
from dingbridge.console.life.summary import Summary, summary_of
from dingbridge.console.render import load_words
from tests.unit.console.test_outcome import COPY

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
HANDLED, DEAD, WAITING = Outcome("handled", AT), Outcome("dead", AT), Outcome("waiting", before=2)
PAUSED, PASSED = Outcome("paused"), Outcome("passed")
LATER = Outcome("handled", AT + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("outcomes", "absent", "summary"),
    [
        ({}, (), Summary("nobody")),
        ({"a": HANDLED}, (), Summary("nobody", "a", HANDLED, 1, 1)),
        ({"a": HANDLED, "b": LATER}, (), Summary("nobody", "b", LATER, 2, 2)),
        ({"a": PASSED, "b": LATER}, (), Summary("nobody", "a", PASSED, 2, 2)),
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


def test_every_state_has_its_words() -> None:
    words = load_words()
    assert [
        f"event.{kind}_{state}"
        for state in MARKS
        for kind in ("state", "where")
        if f"event.{kind}_{state}" not in words
    ] == []


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
