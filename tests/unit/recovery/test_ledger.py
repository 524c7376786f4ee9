"""Who may poll and what is owed: from the notes alone, the same for everybody who reads them."""

import pytest

from ingress.recovery.ledger import Ledger, Note, decode
from ingress.recovery.ledger_topic import NOTE_BYTES, parts
from ingress.recovery.steps import Call, End, Enter, Lost, Order, next_step
from tests.unit.recovery.memory import LEASE_S, note

LEASE_MS = round(LEASE_S * 1000)


def fold(*notes):
    ledger = Ledger()
    for one, at_ms in notes:
        ledger.apply(one, at_ms)
    return ledger


def test_of_two_claims_the_first_is_granted():
    ledger = fold((note("claim", "a"), 1000), (note("claim", "b"), 1000))
    assert ledger.holder == "a"
    ledger.apply(note("intent", "b", "x"), 1001)
    assert not ledger.open
    assert not ledger.allows("b", "x")
    assert isinstance(next_step(ledger, "b", more=True), Lost)


def test_a_lease_ends_by_itself_and_is_prolonged_by_work():
    ledger = fold((note("claim", "a"), 0), (note("intent", "a", "x"), LEASE_MS - 1))
    ledger.apply(note("claim", "b"), LEASE_MS + 1)
    assert ledger.holder == "a"
    ledger.apply(note("claim", "b"), 2 * LEASE_MS - 1)
    assert ledger.holder == "b"
    ledger.apply(note("intent", "a", "y"), 2 * LEASE_MS)
    assert not ledger.allows("a", "y")
    assert set(ledger.open) == {"x"}


def test_a_released_lease_is_free_at_once():
    ledger = fold((note("claim", "a"), 0), (note("release", "a"), 1), (note("claim", "b"), 2))
    assert ledger.holder == "b"
    ledger.apply(note("release", "a"), 3)
    assert ledger.holder == "b"


def test_debts_come_before_the_next_call():
    ledger = fold((note("claim", "a"), 0), (note("intent", "a", "x"), 1), (note("claim", "b"), LEASE_MS + 1))
    assert isinstance(step := next_step(ledger, "b", more=True), Order)
    assert step.intent.id == "x"
    ledger.apply(note("ordered", "b", "x"), LEASE_MS + 2)
    assert isinstance(next_step(ledger, "b", more=True), Call)
    # the former holder comes to: what it has in its hands is kept, and entered by who polls now
    ledger.apply(note("page", "a", "x", items=[{"n": 1}]), LEASE_MS + 3)
    assert ledger.holder == "b"
    assert isinstance(step := next_step(ledger, "b", more=True), Enter)
    assert step.page.items == [{"n": 1}]
    ledger.apply(note("entered", "b", "x"), LEASE_MS + 4)
    assert isinstance(next_step(ledger, "b", more=False), End)


def test_an_intent_knows_when_the_list_was_last_read_to_its_end():
    ledger = fold((note("claim", "a"), 0), (note("end", "a"), 7), (note("intent", "a", "x"), 9))
    assert ledger.open["x"].since_ms == 7
    ledger.apply(note("refused", "a", "x"), 10)
    assert not ledger.open


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b'{"format":2}', b'{"format":1,"kind":"claim","no":1}']
)
def test_what_is_no_note_of_ours_is_passed_over(value):
    assert decode(value) is None


def test_a_large_page_is_noted_in_parts_that_come_back_whole():
    items = [{"user_add_org": {"userid": ["\ud800" + "x" * 1000]}, "n": n} for n in range(2000)]
    whole = Note("page", "a", LEASE_MS, "x", items, more=True)
    split = [decode(part.encode()) for part in parts(whole)]
    assert [part.kind for part in split] == ["items"] * (len(split) - 1) + ["page"]
    assert len(split) > 3
    assert max(len(part.encode()) for part in split) < 2 * NOTE_BYTES
    ledger = fold((note("claim", "a"), 0), (note("intent", "a", "x"), 1))
    for part in split:
        assert not ledger.pages
        ledger.apply(part, 2)
    assert ledger.pages["x"].items == items
    assert not ledger.open
