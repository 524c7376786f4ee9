"""The comparison behind ``lost = 0``: it must be able to fail."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from dev.demo.verification import (
    Tables,
    Verification,
    lost_for_certain,
    table_differences,
    unreported,
)
from dingbridge.events import Received, Record, to_records
from dingbridge.simulator.company.platform import Platform
from tests.support.sizes import sized

# -- A simulated company's life, and what a bridge without faults makes of it


class Life:
    """Events of a company, their records, and the tables that they end in."""

    def __init__(self, actions: int = 150) -> None:
        self.platform = Platform(seed=7, users=30, departments=8)
        events = [e for _ in range(actions) for e in self.platform.act_at_random()]
        # one that is still running, whatever else has happened
        self.plaintexts = [e.plaintext() for e in events + self.platform.act("start_approval")]
        self.records = [record for n, text in enumerate(self.plaintexts) for record in published(n, text)]

    def state(self) -> dict[str, Any]:
        """As ``/_sim/state`` has it."""
        company, approvals = self.platform.company, self.platform.approvals
        return copy.deepcopy(
            {
                "departments": [company.department_result(d) for d in company.departments.values()],
                "users": [company.user_result(u) for u in company.users.values()],
                "refused": {"users": [], "departments": []},
                "approvals": [
                    {
                        "process_instance_id": a.instance_id,
                        "process_code": a.process_code,
                        **approvals.result(a),
                    }
                    for a in approvals
                ],
            }
        )

    def checked(self) -> Verification:
        """Everything answered, everything in Kafka."""
        checked = Verification()
        for text in self.plaintexts:
            checked.push(text, answered=True)
        for record in self.records:
            put(checked, record)
        return checked


def published(seq: int, plaintext: bytes) -> list[Record]:
    """What the publisher sends of one journal row."""
    return to_records(Received(seq + 1, "0123456789abcdef", 1_795_574_000_000, "default", "http", plaintext))


def put(checked: Verification, record: Record) -> None:
    checked.record(record.event_type or "unclassified", record.key, record.value)


def tables_of(state: dict[str, Any]) -> Tables:
    """The rows that are right for this state, leavers aside."""
    manager = {d["dept_id"]: d["dept_manager_userid_list"] for d in state["departments"]}
    over = [a for a in state["approvals"] if a["status"] != "RUNNING"]
    names = ("unionid", "name", "mobile", "job_number", "title", "email", "work_place", "manager_userid")
    leaves = [a for a in over if a["process_code"] == "PROC-LEAVE" and a["result"] == "agree"]
    upon = {a.get("mainProcessInstanceId") for a in leaves}
    outcomes = {"agree": "approved", "refuse": "refused", "": "terminated"}
    return Tables(
        users={u["userid"]: {n: u.get(n) for n in names} | {"left_at": None} for u in state["users"]},
        memberships={
            u["userid"]: {d: u["userid"] in manager[d] for d in u["dept_id_list"]} for u in state["users"]
        },
        departments={
            str(d["dept_id"]): {
                "name": d["name"],
                "parent_id": d.get("parent_id"),
                "manager_userids": str(manager[d["dept_id"]]).replace("'", '"'),
                "deleted_at": None,
            }
            for d in state["departments"]
        },
        approvals={
            a["process_instance_id"]: {
                "process_code": a["process_code"],
                "title": a["title"],
                "originator_userid": a["originatorUserId"],
                "outcome": outcomes[a["result"]],
                "document_state": "full",
            }
            for a in over
        },
        form_fields={a["process_instance_id"]: len(a["formComponentValues"]) for a in over},
        leave_ledger={
            a["process_instance_id"]: {}
            for a in leaves
            if a["bizAction"] != "REVOKE" and a["process_instance_id"] not in upon
        },
    )


def changed(tables: Tables, table: str, key: str, **values: Any) -> Tables:
    """``tables`` with other values in one row."""
    rows = copy.deepcopy(dict(getattr(tables, table)))
    rows[key].update(values)
    return replace(tables, **{table: rows})


def without(tables: Tables, table: str, key: str) -> Tables:
    """``tables`` without one row."""
    return replace(tables, **{table: {k: v for k, v in getattr(tables, table).items() if k != key}})


@pytest.fixture(scope="module")
def life() -> Life:
    return Life()


def test_a_whole_life_is_complete(life: Life) -> None:
    checked = life.checked()
    assert checked.missing() == []
    assert checked.events == len(set(life.plaintexts)) == len(life.plaintexts) > 150
    assert checked.records == len(life.records) > checked.events
    assert (checked.repeated_records, checked.repeated_pushes, checked.unanswered_records) == (
        0,
        0,
        0,
    )


def test_every_single_record_is_missed(life: Life) -> None:
    """Whichever record is absent, its callback is lost; and no other one."""
    for absent in range(0, len(life.records), sized(11, 1, quick=67)):
        checked = Verification()
        for text in life.plaintexts:
            checked.push(text, answered=True)
        for number, record in enumerate(life.records):
            if number != absent:
                put(checked, record)
        (fault,) = checked.missing()
        assert life.records[absent].id in fault
        put(checked, life.records[absent])
        assert checked.missing() == []


@pytest.mark.parametrize("what", ["topic", "key", "value"])
def test_a_record_in_the_wrong_place_or_poorer_is_noticed(what: str) -> None:
    text = (
        b'{"EventType":"bpms_instance_change","processInstanceId":"p1","corpId":"ding1","type":"start",'
        b'"createTime":1731000000000,"title":"some leave","staffId":"01"}'
    )
    (record,) = published(0, text)
    topic, key, value = str(record.event_type), record.key, record.value
    if what == "topic":
        topic = "bpms_task_change"
    elif what == "key":
        key = b"ding1:p2"
    else:
        envelope = json.loads(value)
        del envelope["data"]["title"]
        value = json.dumps(envelope).encode()
    checked = Verification()
    checked.push(text, answered=True)
    checked.record(topic, key, value)
    assert len(checked.missing()) == 1
    assert "some leave" not in checked.missing()[0]
    if what == "value":
        put(checked, record)
        assert checked.missing(), "the poorer copy is still there"


def test_a_push_given_up_is_owed_nothing_and_makes_its_subjects_unsure() -> None:
    text = b'{"EventType":"user_leave_org","TimeStamp":"1731000000000","UserId":["01"],"CorpId":"ding1"}'
    checked = Verification()
    checked.push(text.replace(b"leave", b"modify"), answered=True)
    for record in published(0, text.replace(b"leave", b"modify")):
        put(checked, record)
    assert checked.sure("user") == {"01"}
    checked.push(text, answered=False)
    assert checked.missing() == []
    assert (checked.sure("user"), checked.unsure("user")) == (set(), {"01"})
    checked.resynced()
    assert (checked.sure("user"), checked.unsure("user"), checked.listed.of("user")) == (
        {"01"},
        set(),
        {"01"},
    )
    put(checked, published(1, text)[0])  # kept, and the answer did not arrive in time
    assert checked.unanswered_records == 1


@pytest.mark.parametrize(
    ("missing", "waiting", "before", "lost"),
    [(0, 0, 0, 0), (3, 3, 0, 0), (3, 5, 0, 0), (4, 1, 0, 3), (4, 0, 0, 4), (9, None, 0, 0), (9, None, 2, 2)],
)
def test_lost_for_certain(missing: int, waiting: int | None, before: int, lost: int) -> None:
    assert lost_for_certain(missing, waiting, before) == lost


def wrong_tables(life: Life) -> dict[str, Tables]:
    """By the one difference that is to be told of each."""
    state, checked = life.state(), life.checked()
    right = tables_of(state)
    user = min(checked.sure("user") & {u["userid"] for u in state["users"]})
    left = min(checked.sure("user") - {u["userid"] for u in state["users"]})
    dept = min(checked.sure("department") & right.departments.keys())
    removed = min(checked.sure("department") - right.departments.keys())
    approval, leave = min(right.approvals), min(right.leave_ledger)
    running = min(a["process_instance_id"] for a in state["approvals"] if a["status"] == "RUNNING")
    (led, leads), *_ = right.memberships[user].items()
    of_user = {"name": "李四", "mobile": None, "manager_userid": "0", "title": "", "left_at": "2026-01-01"}
    of_approval = {"outcome": "revoked", "title": "", "process_code": None, "document_state": "missing"}
    return {
        **{f"user {user}: {n}": changed(right, "users", user, **{n: v}) for n, v in of_user.items()},
        **{
            f"approval {approval}: {n}": changed(right, "approvals", approval, **{n: v})
            for n, v in of_approval.items()
        },
        f"user {user}: memberships": replace(
            right, memberships={**right.memberships, user: {led: not leads}}
        ),
        f"user {user}: has": without(right, "users", user),
        f"department {dept}:": without(right, "departments", dept),
        f"approval {approval}:": without(right, "approvals", approval),
        f"user {left}:": replace(right, users={**right.users, left: {"left_at": None}}),
        f"department {removed}:": replace(
            right, departments={**right.departments, removed: {"deleted_at": None}}
        ),
        f"approval {approval}": without(right, "form_fields", approval),
        f"approval {leave}": without(right, "leave_ledger", leave),
        f"approval {running}": replace(right, leave_ledger={**right.leave_ledger, running: {}}),
    }


def test_right_tables_do_not_differ_and_each_wrong_one_does(life: Life) -> None:
    state, checked = life.state(), life.checked()
    assert table_differences(state, tables_of(state), checked) == []
    for words, tables in wrong_tables(life).items():
        [told] = table_differences(state, tables, checked)
        assert told.startswith(words)


def test_what_a_given_up_push_was_about_is_not_compared(life: Life) -> None:
    state, checked = life.state(), life.checked()
    userid = min(checked.sure("user") & {u["userid"] for u in state["users"]})
    push = {
        "EventType": "user_modify_org",
        "TimeStamp": "1",
        "UserId": [userid],
        "CorpId": "dingcorpsample01",
    }
    checked.push(json.dumps(push).encode(), answered=False)
    tables = changed(tables_of(state), "users", userid, name="before")
    assert table_differences(state, tables, checked) == []


def test_who_may_have_left_without_an_event_is_told_of_and_not_compared_for_an_hour(life: Life) -> None:
    state, checked = life.state(), life.checked()
    left = min(checked.sure("user") - {u["userid"] for u in state["users"]})
    push = {"EventType": "user_leave_org", "TimeStamp": "1", "UserId": [left], "CorpId": "dingcorpsample01"}
    checked.push(json.dumps(push).encode(), answered=False)
    checked.resynced()
    right = tables_of(state)
    assert unreported(state, checked) == {"user": {left}, "department": set()}
    assert (
        table_differences(state, replace(right, users={**right.users, left: {"left_at": None}}), checked)
        == []
    )
