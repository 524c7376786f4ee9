"""Which events a system gets."""

import asyncio
from typing import Any

import pytest

from consumers.forward import selection as module
from consumers.forward.selection import ABOVE_S, Selection
from dingbridge.dingtalk.errors import NotFound, RateLimited
from dingbridge.events.event import Event
from tests.unit.forward.support import event, system

ABOVE = {"30": "3", "3": "1", "40": "4", "4": "1"}


class Contacts:
    """DingTalk's address book: 1 ─ 3 ─ 30, 1 ─ 4 ─ 40."""

    def __init__(self) -> None:
        self.users: dict[str, list[int]] = {"u1": [30], "u2": [40], "u3": [40, 30]}
        self.above = ABOVE
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.down = ""  # the department that cannot be asked about

    async def user(self, userid: str) -> dict[str, Any]:
        self.asked.append(userid)
        if self.error:
            raise self.error
        if userid not in self.users:
            raise NotFound("no such user", api="v2/user/get")
        return {"userid": userid, "dept_id_list": self.users[userid]}

    async def department(self, dept_id: int) -> dict[str, Any]:
        self.asked.append(str(dept_id))
        if str(dept_id) == self.down:
            raise RateLimited("slowly", api="v2/department/get")
        if dept_id == 1:
            return {"dept_id": 1}  # nothing stands above the root
        if str(dept_id) not in self.above:
            raise NotFound("no such department", api="v2/department/get")
        return {"dept_id": dept_id, "parent_id": int(self.above[str(dept_id)])}


class Clock:
    now = 1700000001.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def contacts() -> Contacts:
    return Contacts()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wants(selection: Selection, found: Event) -> bool:
    return asyncio.run(selection.wants(found))


def user_event(userid: str, **more: Any) -> Event:
    return event(**more, UserId=[userid])


def approval(code: object) -> Event:
    return event(
        "bpms_instance_change", processInstanceId="pi-1", processCode=code, type="finish", result="agree"
    )


def test_without_filters_nobody_is_asked(contacts: Contacts) -> None:
    selection = Selection(system(), lambda: contacts)
    assert wants(selection, user_event("u1"))
    assert wants(selection, approval("PROC-1"))
    assert contacts.asked == []


@pytest.mark.parametrize(
    ("code", "wanted"),
    [("PROC-1", True), ("PROC-2", False), ("HR-9", True), (None, False), ("", False), (7, False)],
)
def test_process_codes_look_at_approvals(contacts: Contacts, code: object, wanted: bool) -> None:
    selection = Selection(system(process_codes=["PROC-1", "HR-*"]), lambda: contacts)
    assert wants(selection, approval(code)) == wanted
    assert wants(selection, user_event("u1"))  # not its business


@pytest.mark.parametrize(
    ("departments", "wanted"),
    [
        ([30], {"u1", "u3"}),
        (["30"], {"u1", "u3"}),
        ([3], {"u1", "u3"}),
        ([4], {"u2", "u3"}),
        ([1], {"u1", "u2", "u3"}),
        ([5], set()),
    ],
)
def test_a_department_holds_those_below_it(
    contacts: Contacts, departments: list[int | str], wanted: set[str]
) -> None:
    selection = Selection(system(departments=departments), lambda: contacts)
    assert {u for u in ("u1", "u2", "u3") if wants(selection, user_event(u))} == wanted
    assert wants(selection, approval("PROC-1"))  # not its business


def test_events_about_departments_too(contacts: Contacts) -> None:
    selection = Selection(system(departments=[3]), lambda: contacts)
    found = {d for d in (1, 3, 30, 4, 40) if wants(selection, event("org_dept_modify", DeptId=[d]))}
    assert found == {3, 30}


def test_who_left_is_told_of(contacts: Contacts) -> None:
    selection = Selection(system(departments=[3]), lambda: contacts)
    assert wants(selection, user_event("gone", event_type="user_leave_org"))
    assert wants(selection, event("org_dept_remove", DeptId=[99]))


def test_whom_somebody_moves_away_from_hears_of_it(contacts: Contacts, clock: Clock) -> None:
    selection = Selection(system(departments=[30]), lambda: contacts, clock)
    assert wants(selection, user_event("u1"))
    contacts.users["u1"] = [40]
    clock.now += 10
    moved_ms = int(clock.now * 1000)
    assert wants(selection, user_event("u1", event_id="e2", received_ms=moved_ms))
    clock.now += 10
    later_ms = int(clock.now * 1000)
    assert not wants(selection, user_event("u1", event_id="e3", received_ms=later_ms))


def moved(selection: Selection, contacts: Contacts, clock: Clock) -> Event:
    """The event of u1's move from department 30 to 40, after another event of u1 had been looked at."""
    assert wants(selection, user_event("u1"))
    contacts.users["u1"] = [40]
    clock.now += ABOVE_S + 10
    return user_event("u1", event_id="e2", received_ms=int(clock.now * 1000))


@pytest.mark.parametrize("behind_s", [0, 3], ids=["same clock", "clock behind the ingress"])
def test_a_move_is_told_of_at_each_attempt(contacts: Contacts, clock: Clock, behind_s: float) -> None:
    selection = Selection(system(departments=[3]), lambda: contacts, clock)
    move = moved(selection, contacts, clock)
    clock.now -= behind_s
    for _ in range(3):
        assert wants(selection, move)
        clock.now += 0.5
    selection.forget(move)
    clock.now += 10
    assert not wants(selection, user_event("u1", event_id="e3", received_ms=int(clock.now * 1000)))


@pytest.mark.parametrize("behind_s", [0, 3], ids=["same clock", "clock behind the ingress"])
def test_a_move_whose_first_attempt_could_not_be_judged_is_told_of(
    contacts: Contacts, clock: Clock, behind_s: float
) -> None:
    selection = Selection(system(departments=[3]), lambda: contacts, clock)
    move = moved(selection, contacts, clock)
    clock.now -= behind_s
    contacts.down = "30"
    with pytest.raises(RateLimited):
        wants(selection, move)
    contacts.down = ""
    assert wants(selection, move)


def test_of_events_from_before_one_answer_each_may_be_the_move(contacts: Contacts, clock: Clock) -> None:
    selection = Selection(system(departments=[30]), lambda: contacts, clock)
    assert wants(selection, user_event("u1"))
    contacts.users["u1"] = [40]
    clock.now += 10
    before_ms = int(clock.now * 1000) - 5000
    assert wants(selection, user_event("u1", event_id="e2", received_ms=before_ms))
    assert wants(selection, user_event("u1", event_id="e3", received_ms=before_ms))


def test_beyond_what_is_kept_those_asked_about_longest_ago_are_forgotten(
    contacts: Contacts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    selection = Selection(system(departments=[30, 40]), lambda: contacts, clock)
    for userid in ("u1", "u2", "u3", "u3", "u2", "u1"):
        assert wants(selection, user_event(userid))
    assert contacts.asked == ["u1", "u2", "u3", "u1"]


def test_one_answer_serves_the_events_that_came_before_it(contacts: Contacts, clock: Clock) -> None:
    selection = Selection(system(departments=[30]), lambda: contacts, clock)
    for n in range(20):
        assert wants(selection, user_event("u1", event_id=f"e{n}"))
    assert contacts.asked == ["u1"]


@pytest.mark.parametrize(
    "other", [{"CorpId": "dingcorp2"}, {"app": "second"}], ids=["another company", "another app"]
)
def test_companies_share_ids_and_no_answer(contacts: Contacts, clock: Clock, other: dict[str, str]) -> None:
    answering = [contacts]
    selection = Selection(system(departments=[3]), lambda: answering[0], clock)
    assert wants(selection, user_event("u1"))
    elsewhere = answering[0] = Contacts()
    elsewhere.users["u1"] = [50]
    elsewhere.above = {"50": "30", "30": "4", "4": "1"}
    assert not wants(selection, user_event("u1", **other))
    assert elsewhere.asked == ["u1", "50", "30", "4"]
    answering[0] = contacts
    assert wants(selection, user_event("u1", event_id="e2"))


def test_what_stands_above_is_believed_for_a_while(contacts: Contacts, clock: Clock) -> None:
    selection = Selection(system(departments=[3]), lambda: contacts, clock)
    for userid in ("u1", "u3"):
        assert wants(selection, user_event(userid))
    assert contacts.asked.count("30") == 1
    clock.now += ABOVE_S + 1
    wants(selection, user_event("u1", event_id="e9"))
    assert contacts.asked.count("30") == 2


def test_a_dingtalk_that_is_down_is_not_an_answer(contacts: Contacts) -> None:
    contacts.error = RateLimited("slowly", api="v2/user/get")
    with pytest.raises(RateLimited):
        wants(Selection(system(departments=[3]), lambda: contacts), user_event("u1"))
