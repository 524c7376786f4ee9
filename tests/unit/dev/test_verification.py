"""The comparison behind ``lost = 0``: it must be able to fail."""

import json
from dataclasses import replace
from random import Random

import pytest

from dev.demo.verification import (
    APPROVAL,
    Verification,
    expected,
    lost_for_certain,
    refused_subjects,
    table_differences,
)
from dingbridge.events import Record, decode
from tests.unit.dev.company import Life, changed, published, put, tables_of, without


@pytest.fixture(scope="module")
def life() -> Life:
    return Life()


# -- answers and Kafka


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
    for absent in range(0, len(life.records), 11):
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


def test_nothing_in_kafka_means_all_are_missing(life: Life) -> None:
    checked = Verification()
    for text in life.plaintexts:
        checked.push(text, answered=True)
    assert len(checked.missing()) == len(life.plaintexts)


def test_one_of_several_people_missing_loses_the_callback() -> None:
    text = b'{"EventType":"user_add_org","TimeStamp":"1731000000000","UserId":["01","02"],"CorpId":"ding1"}'
    first, second = published(0, text)
    checked = Verification()
    checked.push(text, answered=True)
    put(checked, first)
    assert len(checked.missing()) == 1
    put(checked, second)
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


def test_repeats_are_counted_and_are_no_loss(life: Life) -> None:
    checked = life.checked()
    for record in life.records[:5]:
        put(checked, record)
    for text in life.plaintexts[:3]:
        checked.push(text, answered=True)
    assert checked.missing() == []
    assert (checked.repeated_records, checked.repeated_pushes) == (5, 3)
    assert checked.events == len(life.plaintexts)


def test_the_order_does_not_matter(life: Life) -> None:
    checked = Verification()
    steps = [lambda t=t: checked.push(t, answered=True) for t in life.plaintexts]
    steps += [lambda r=r: put(checked, r) for r in life.records]
    Random(3).shuffle(steps)
    for step in steps:
        step()
    assert checked.missing() == []


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
    assert (checked.sure("user"), checked.unsure("user"), checked.listed) == ({"01"}, set(), {"01"})
    put(checked, published(1, text)[0])  # kept, and the answer did not arrive in time
    assert checked.unanswered_records == 1


def test_a_callback_that_cannot_be_normalised_is_known_by_its_bytes() -> None:
    checked = Verification()
    checked.push(b"no JSON", answered=True)
    assert len(checked.missing()) == 1
    (record,) = published(0, b"no JSON")
    put(checked, record)
    assert len(checked.missing()) == 1, "it has no identity, so that its id is the bridge's own"


def test_records_that_are_no_events_are_counted() -> None:
    checked = Verification()
    checked.record("user_add_org", b"k", b"{}")
    checked.record("user_add_org", None, None)
    assert (checked.unreadable, checked.records) == (2, 0)


def test_subjects_are_those_of_the_records() -> None:
    text = b'{"EventType":"org_dept_remove","TimeStamp":"1731000000000","DeptId":[5,6],"CorpId":"ding1"}'
    assert expected(text).subjects == {("department", "5"), ("department", "6")}


@pytest.mark.parametrize(
    ("missing", "waiting", "before", "lost"),
    [(0, 0, 0, 0), (3, 3, 0, 0), (3, 5, 0, 0), (4, 1, 0, 3), (4, 0, 0, 4), (9, None, 0, 0), (9, None, 2, 2)],
)
def test_lost_for_certain(missing: int, waiting: int | None, before: int, lost: int) -> None:
    assert lost_for_certain(missing, waiting, before) == lost


# -- tables


def test_right_tables_do_not_differ(life: Life) -> None:
    state = life.state()
    assert table_differences(state, tables_of(state), life.checked()) == []
    assert len(life.checked().sure("user")) > 20
    assert life.checked().sure("department")
    assert life.checked().sure(APPROVAL)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "李四"), ("mobile", None), ("manager_userid", "0"), ("title", ""), ("left_at", "2026-01-01")],
)
def test_each_field_of_an_employee_counts(life: Life, field: str, value: object) -> None:
    state, checked = life.state(), life.checked()
    userid = min(checked.sure("user") & {u["userid"] for u in state["users"]})
    tables = changed(tables_of(state), "users", userid, **{field: value})
    assert table_differences(state, tables, checked) == [f"user {userid}: {field}"]


def test_memberships_count_and_so_does_who_leads(life: Life) -> None:
    state, checked = life.state(), life.checked()
    userid = min(checked.sure("user") & {u["userid"] for u in state["users"]})
    tables = tables_of(state)
    (dept, leads), *_ = tables.memberships[userid].items()
    for wrong in ({dept: not leads}, {dept: leads, 1: False}, {}):
        other = replace(tables, memberships={**tables.memberships, userid: wrong})
        if wrong != tables.memberships[userid]:
            assert table_differences(state, other, checked) == [f"user {userid}: memberships"]


def test_who_is_refused_is_as_listed_and_must_not_be_marked(life: Life) -> None:
    state, checked = life.state(), life.checked()
    userid = min(checked.sure("user") & {u["userid"] for u in state["users"]})
    dept_id = min(checked.sure("department") & {str(d["dept_id"]) for d in state["departments"]})
    state["refused"] = {"users": [userid], "departments": [int(dept_id)]}
    assert refused_subjects(state, checked) == {"user": {userid}, "department": {dept_id}}
    tables = changed(tables_of(state), "users", userid, title="before", left_at="2026-01-01")
    tables = changed(tables, "departments", dept_id, name="before", deleted_at="2026-01-01")
    wrong = [f"user {userid}: left_at", f"department {dept_id}: deleted_at"]
    assert table_differences(state, tables, checked) == wrong


def test_who_is_in_a_refused_department_only_can_be_known_by_an_event_alone(life: Life) -> None:
    state, checked = life.state(), life.checked()
    user = next(u for u in state["users"] if u["userid"] in checked.sure("user"))
    state["refused"]["departments"] = user["dept_id_list"]
    tables = without(tables_of(state), "users", user["userid"])
    assert table_differences(state, tables, checked) == [f"user {user['userid']}: has no row"]
    checked.listed.add(user["userid"])
    assert table_differences(state, tables, checked) == []


def test_leavers_and_removed_departments(life: Life) -> None:
    state, checked = life.state(), life.checked()
    tables = tables_of(state)
    userid = min(checked.sure("user") - {u["userid"] for u in state["users"]})
    dept_id = min(checked.sure("department") - {str(d["dept_id"]) for d in state["departments"]})
    stale = replace(
        tables,
        users={**tables.users, userid: {"left_at": None}},
        departments={**tables.departments, dept_id: {"deleted_at": None}},
    )
    assert [text.partition(":")[0] for text in table_differences(state, stale, checked)] == [
        f"user {userid}",
        f"department {dept_id}",
    ]
    marked = replace(
        tables,
        users={**tables.users, userid: {"left_at": "2026-01-01"}},
        departments={**tables.departments, dept_id: {"deleted_at": "2026-01-01"}},
    )
    assert table_differences(state, marked, checked) == []


@pytest.mark.parametrize(
    ("table", "kind"), [("users", "user"), ("departments", "department"), ("approvals", "approval")]
)
def test_a_row_that_is_absent_is_noticed(life: Life, table: str, kind: str) -> None:
    state, checked = life.state(), life.checked()
    tables = tables_of(state)
    sure = checked.sure(APPROVAL if kind == "approval" else kind)
    key = min(sure & getattr(tables, table).keys())
    (fault,) = table_differences(state, without(tables, table, key), checked)
    assert fault.startswith(f"{kind} {key}: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [("outcome", "revoked"), ("title", ""), ("process_code", None), ("document_state", "missing")],
)
def test_each_field_of_an_approval_counts(life: Life, field: str, value: object) -> None:
    state, checked = life.state(), life.checked()
    tables = tables_of(state)
    id_ = min(tables.approvals)
    wrong = changed(tables, "approvals", id_, **{field: value})
    assert table_differences(state, wrong, checked) == [f"approval {id_}: {field}"]


def test_form_and_ledger_count(life: Life) -> None:
    state, checked = life.state(), life.checked()
    tables = tables_of(state)
    id_, leave = min(tables.approvals), min(tables.leave_ledger)
    running = min(a["process_instance_id"] for a in state["approvals"] if a["status"] == "RUNNING")
    for wrong in (
        without(tables, "form_fields", id_),
        without(tables, "leave_ledger", leave),
        replace(tables, leave_ledger={**tables.leave_ledger, running: {}}),
        replace(tables, approvals={**tables.approvals, running: {}}),
    ):
        assert len(table_differences(state, wrong, checked)) == 1


@pytest.mark.parametrize("action", ["modify_approved", "revoke_approved"])
def test_a_leave_that_another_approval_changes_or_takes_back_is_not_in_force(action: str) -> None:
    life = Life(actions=0)

    def act(action: str, **arguments: str) -> str:
        events = life.platform.act(action, arguments)
        life.plaintexts += [event.plaintext() for event in events]
        found: str = next(e for e in events if e.event_type == "bpms_instance_change").payload[
            "processInstanceId"
        ]
        return found

    main = act("start_approval", process_code="PROC-LEAVE")
    act("approve", process_instance_id=main)
    upon = act(action, process_instance_id=main)
    assert set(tables_of(life.state()).leave_ledger) == {main}
    act("approve", process_instance_id=upon)
    state, checked = life.state(), life.checked()
    tables = tables_of(state)
    assert set(tables.leave_ledger) == ({upon} if action == "modify_approved" else set())
    assert table_differences(state, tables, checked) == []
    for leaves in ({main}, {main, upon}):
        wrong = replace(tables, leave_ledger={id_: {} for id_ in leaves})
        assert table_differences(state, wrong, checked)
    # of the other one nothing may have arrived
    checked.push(life.plaintexts[-1], answered=False)
    gone = replace(without(tables, "approvals", upon), leave_ledger={main: {}})
    assert table_differences(state, gone, checked) == []


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


def test_records_used_here_are_what_the_publisher_makes(life: Life) -> None:
    record: Record = life.records[0]
    assert decode(record.value).partitionkey.encode() == record.key
