"""The rules, one by one: who gets his way, and where a limit holds."""

from dataclasses import replace
from typing import Any

import pytest

from dingbridge.consumers.outbound.contacts.decide import decide
from dingbridge.consumers.outbound.contacts.outcome import settle_outcome
from dingbridge.consumers.outbound.ledger import (
    EXISTS,
    Create,
    Decision,
    Delete,
    DesiredState,
    Ledger,
    Observed,
    Outcome,
    Update,
    release,
    take,
)
from dingbridge.consumers.outbound.owners import Owners
from tests.unit.outbound.company import OWNERS, RULES, Entity, S

DESIRED = {"name": "N", "title": "A", "remark": "r", "workPlace": "w"}


def employed(**more: Any) -> Entity:
    """Somebody whom we created, long ago."""
    it = Entity(**more)
    it.want(DESIRED)
    it.tick(3600 * S, [])
    assert it.truth == DESIRED
    return it


def look(ledger: Ledger, observed: Observed | None, now_ms: int = 0, **more: Any) -> Decision:
    return decide("user", ledger, observed, owners=OWNERS, rules=RULES, now_ms=now_ms, **more)


def last_result(it: Entity) -> tuple[str, str | None]:
    return it.results[-1].result, it.results[-1].reason


@pytest.mark.parametrize(
    ("name", "verdict", "ends_as"),
    [("title", "written-back", "A"), ("remark", "reported", "X"), ("workPlace", "accepted", "X")],
)
def test_a_persons_change_goes_by_the_fields_owner(name: str, verdict: str, ends_as: str) -> None:
    it = employed()
    it.edit(name, "X")
    it.tick(3600 * S, [])
    assert it.changes == [(name, "X", verdict)]
    assert it.truth is not None
    assert it.truth[name] == ends_as
    it.want(DESIRED | {name: "new"})
    it.tick(3600 * S, [])
    assert it.truth[name] == ("X" if name == "workPlace" else "new")


def test_our_own_write_comes_back_as_an_echo_and_nobody_is_told() -> None:
    it = employed()
    it.want(DESIRED | {"title": "B"})
    it.tick(3600 * S, [])
    assert (it.changes, it.written, it.echoes) == ([], 2, 2)
    assert last_result(it) == ("done", None)


def test_equal_state_is_not_written_and_a_replay_revives_nothing() -> None:
    it = employed()
    it.want(dict(reversed(DESIRED.items())))
    it.tick(3600 * S, [])
    assert last_result(it) == ("unchanged", None)
    it.hear(it.wanted[0])
    it.tick(3600 * S, [])
    assert it.written == 1


def test_what_was_there_before_us_is_compared_and_waits_for_release() -> None:
    it = Entity()
    it.edit(EXISTS, True)
    it.want(DESIRED)
    it.tick(3600 * S, [])
    assert last_result(it) == ("pending", "adopted")
    assert it.results[-1].fields == ("name", "title", "remark", "workPlace")[:3]
    assert it.written == 0
    it.ledger, it.due_ms = release(it.ledger), it.now_ms
    it.tick(3600 * S, [])
    assert it.truth == {name: value for name, value in DESIRED.items() if name != "workPlace"}


def test_a_flapping_pair_is_stopped_in_words_until_the_oa_speaks_again() -> None:
    it = employed()
    for n in range(12):
        it.edit("title", f"X{n}")
        it.tick(120 * S, [])
    assert last_result(it) == ("conflict", "flapping")
    assert "release" in (it.results[-1].words or "")
    assert it.written == 1 + RULES.writes_back_per_hour
    assert it.changes[-1] == ("title", "X11", "reported")
    it.want(DESIRED)
    it.tick(3600 * S, [])
    assert it.truth == DESIRED


def test_a_removal_waits_for_its_grace_and_for_the_limit() -> None:
    it = employed()
    it.want(None)
    there = it.read(0)
    waiting = look(it.ledger, there, it.now_ms)
    assert waiting.result is not None
    assert (waiting.result.reason, waiting.due_ms) == ("grace", it.now_ms + RULES.grace_ms)
    after_ms = it.now_ms + RULES.grace_ms
    limited = look(waiting.ledger, there, after_ms, may_remove=False)
    assert limited.result is not None
    assert (limited.action, limited.result.reason) == (None, "removal-approval")
    approved = replace(limited.ledger, removal_approved=True)
    assert look(approved, there, after_ms, may_remove=False).action == Delete("u1")
    removing = look(limited.ledger, there, after_ms)
    assert removing.action == Delete("u1")
    held_up = settle_outcome(removing.ledger, Outcome("pending", reason="not-empty"), after_ms, RULES)
    assert held_up.due_ms is not None
    assert look(held_up.ledger, there, held_up.due_ms, may_remove=False).action == Delete("u1")


def test_grace_counts_from_the_first_absent_and_ends_with_a_desired_state() -> None:
    ledger = take(Ledger(), DesiredState(1, {}, absent=True, since_ms=5))
    ledger = take(ledger, DesiredState(2, {}, absent=True, since_ms=9))
    assert ledger.desired is not None
    assert ledger.desired.since_ms == 5
    ledger = take(ledger, DesiredState(3, DESIRED, absent=False, since_ms=11))
    assert ledger.desired is not None
    assert ledger.desired.since_ms == 11


def test_an_unknown_outcome_that_is_neither_old_nor_new_is_a_conflict_and_then_the_owners() -> None:
    it = employed()
    it.want(DESIRED | {"title": "B"})
    it.look("killed-after")
    it.edit("title", "X")
    it.tick(30 * S, [])
    assert last_result(it) == ("conflict", "outcome")
    it.tick(3600 * S, [])
    assert it.truth == DESIRED | {"title": "B"}
    assert it.changes == [("title", "X", "written-back")]


def test_somebody_who_must_accept_is_looked_at_again_ever_more_seldom() -> None:
    ledger = look(take(Ledger(), DesiredState(1, DESIRED, absent=False, since_ms=0)), None).ledger
    invited = settle_outcome(ledger, Outcome("pending", reason="acceptance"), S, RULES)
    now_ms, waits = S, []
    for _ in range(6):
        assert invited.result is not None
        assert (invited.result.result, invited.result.reason) == ("pending", "acceptance")
        assert invited.due_ms is not None
        waits.append((invited.due_ms - now_ms) // (60 * S))
        now_ms = invited.due_ms
        invited = look(invited.ledger, None, now_ms)
        assert invited.action is None
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (10, 60)
    other = look(invited.ledger, Observed("other", DESIRED, by="match"), now_ms)
    assert other.result is not None
    assert (other.ledger.owned_id, other.result.reason) == (None, "adopted")
    accepted = look(invited.ledger, Observed("u1", DESIRED, by="chosen"), now_ms)
    assert accepted.ledger.owned_id == "u1"
    assert accepted.due_ms is not None
    done = look(accepted.ledger, Observed("u1", DESIRED), accepted.due_ms)
    assert done.result is not None
    assert done.result.result == "done"


@pytest.mark.parametrize("owner", ["oa", "report"])
def test_somebody_whom_a_person_removed_comes_back_or_is_told(owner: Any) -> None:
    it = employed(owners=Owners(users={EXISTS: owner}))
    it.edit(EXISTS, False)
    it.tick(3600 * S, [])
    if owner == "oa":
        assert it.changes == [(EXISTS, False, "written-back")]
        assert it.truth == DESIRED
        return
    assert it.changes == [(EXISTS, False, "reported")]
    assert last_result(it) == ("conflict", "removed")
    it.edit(EXISTS, True)
    it.tick(3600 * S, [])
    assert it.changes[1:] == [(EXISTS, True, "accepted")]


def test_what_dingtalk_refuses_is_not_asked_again_until_the_oa_says_something_else() -> None:
    ledger = look(take(Ledger(), DesiredState(1, DESIRED, absent=False, since_ms=0)), None).ledger
    refused = settle_outcome(ledger, Outcome("refused", code="60103", words="mend it"), S, RULES)
    assert refused.result is not None
    assert (refused.result.result, refused.result.code, refused.due_ms) == ("refused", "60103", None)
    assert look(refused.ledger, None, 90 * S).action is None
    assert look(release(refused.ledger), None, 90 * S).action == Create(DESIRED)
    again = take(refused.ledger, DesiredState(2, DESIRED, absent=False, since_ms=0))
    assert look(again, None, 90 * S).action == Create(DESIRED)


def test_who_was_removed_is_created_with_the_newest_word_once_the_old_one_was_refused() -> None:
    """workPlace is DingTalk's, as a mobile is, and people have changed it since."""
    written = DESIRED | {"workPlace": "theirs"}
    gone = Ledger(
        seen=None, written=written, owned_id="u", desired=DesiredState(2, DESIRED, absent=False, since_ms=0)
    )
    tried = look(gone, None)
    assert tried.action == Create(written)
    refused = settle_outcome(tried.ledger, Outcome("refused", code="60104", words="taken"), S, RULES).ledger
    assert look(refused, None, 90 * S).action is None
    mended = look(take(refused, DesiredState(3, DESIRED, absent=False, since_ms=0)), None, 90 * S)
    assert mended.action == Create(DESIRED)
    again = settle_outcome(mended.ledger, Outcome("refused", code="60104", words="taken"), 91 * S, RULES)
    assert look(again.ledger, None, 180 * S).action is None


def test_a_missing_parent_waits_and_a_missing_manager_holds_up_itself_alone() -> None:
    parent = DesiredState(1, DESIRED, absent=False, since_ms=0, missing="department-missing")
    waiting = look(take(Ledger(), parent), None)
    assert waiting.result is not None
    assert (waiting.action, waiting.result.reason) == (None, "department-missing")
    manager = replace(parent, missing="manager-missing")
    created = look(take(Ledger(), manager), None)
    assert created.action == Create(DESIRED)
    done = settle_outcome(created.ledger, Outcome("done", ding_id="u1"), S, RULES)
    found = replace(done.ledger, desired=replace(manager, missing=None, fields=DESIRED | {"manager": "u2"}))
    assert look(done.ledger, Observed("u1", DESIRED), S).result is not None
    then = look(found, Observed("u1", DESIRED), S)
    assert then.action == Update("u1", {"manager": "u2"}, {"manager": None})


def test_an_edit_that_reads_show_late_is_seen_after_2_10_or_60_s() -> None:
    for lag_s, seen_s in ((1, 2), (5, 12), (30, 60)):
        it = Entity()
        it.want({"name": "N", "title": "A"})
        it.tick(600 * S, [])
        it.edit("title", "B")
        edited_ms = it.now_ms
        looks = 0
        while not it.changes:
            looks += 1
            assert looks < 10
            it.now_ms = max(it.now_ms, it.due_ms or 0, *it.events)
            it._happen()
            it.look(lag_ms=lag_s * S)
        assert (it.now_ms - edited_ms) // S in (seen_s, seen_s + 1, seen_s + 2)


def test_an_echo_costs_one_look_at_once_and_one_when_reads_lag_no_more() -> None:
    it = Entity()
    it.want({"name": "N", "title": "A"})
    reads, read = [], it.read
    it.read = lambda lag_ms: reads.append(it.now_ms) or read(lag_ms)  # type: ignore[method-assign,func-returns-value]
    it.tick(600 * S, [])
    assert len(reads) <= 4
