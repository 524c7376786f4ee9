"""What DingTalk answers, as rows: absent is not empty, and either spelling of a value will do."""

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.consumers.address_sync.check import _calls
from dingbridge.consumers.address_sync.mapping import department_row, listed_state, roles_state, user_state
from dingbridge.consumers.outbound import fields as outbound_fields
from dingbridge.doctor.checks.platform import Known
from tests.support.sizes import sized
from tests.unit.address_sync.company import Company, listed


def test_every_field_of_a_user_has_its_column():
    state = user_state(Company().hire("u1", role_list=[{"id": 7, "name": "财务", "group_name": "职务"}]))
    assert state.row["unionid"] == "union-u1"
    assert state.row["job_number"] == "E00001"
    assert state.row["hired_at"] == date(2020, 8, 16)
    assert state.row["active"] is True
    assert state.row["admin"] is False
    assert state.memberships == {1: {"leader": False, "sort_order": 176362815343598512}}
    assert state.roles == {7}
    assert state.role_names == {7: {"name": "财务", "group_name": "职务", "deleted_at": None}}


@pytest.mark.parametrize(
    ("day", "hours"), [("2024-03-01", 8), ("1988-06-01", 9), ("1988-12-01", 8), ("1992-06-01", 8)]
)
def test_a_date_is_the_day_that_it_is_in_china(day, hours):
    """DingTalk sends midnight in China, which had summer time from 1986 to 1991."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=timezone(timedelta(hours=hours)))
    hired = int(midnight.timestamp()) * 1000
    assert user_state({"hired_date": hired}).row["hired_at"] == date.fromisoformat(day)
    assert outbound_fields._midnight_ms(day) == hired


def test_what_is_absent_is_null_and_what_is_empty_is_empty():
    state = user_state({"userid": "u1", "title": ""})
    assert state.row["title"] == ""
    assert state.row["mobile"] is None
    assert state.row["hired_at"] is None
    assert state.row["active"] is None


def test_an_absent_department_list_is_silence_and_an_empty_one_is_none():
    assert user_state({}).memberships is None
    assert user_state({"dept_id_list": []}).memberships == {}
    assert user_state({}).roles == frozenset()


def test_values_spelled_as_text_are_understood():
    state = user_state(
        {
            "dept_id_list": "[1,2]",
            "leader_in_dept": '[{"dept_id":"2","leader":"true"}]',
            "hired_date": "1597573616828",
            "active": "true",
            "job_number": 17,
        }
    )
    assert state.memberships == {
        1: {"leader": None, "sort_order": None},
        2: {"leader": True, "sort_order": None},
    }
    assert state.row["hired_at"] == date(2020, 8, 16)
    assert state.row["active"] is True
    assert state.row["job_number"] == "17"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_text_that_postgresql_refuses_is_made_storable(text):
    name = user_state({"name": text}).row["name"]
    assert name is not None
    assert "\0" not in name
    name.encode()


def test_the_root_department_has_no_parent():
    row = department_row({"dept_id": 1, "name": "示例公司"})
    assert row["parent_id"] is None
    assert row["manager_userids"] is None
    assert department_row({"dept_manager_userid_list": ["u1"]})["manager_userids"] == '["u1"]'


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


FIELDS = ["name", "dept_id_list", "leader_in_dept", "dept_order_list", "role_list", "hired_date", "active"]


@settings(max_examples=sized(100, 500, quick=10))
@given(
    st.dictionaries(st.sampled_from([*FIELDS, "order", "parent_id", "dept_manager_userid_list"]), anything)
)
def test_no_answer_is_too_odd(result):
    user_state(result)
    department_row(result)


def test_a_listing_tells_less_than_the_details_and_says_nothing_of_the_rest():
    company = Company()
    company.hire("u1", dept_id_list=[1, 2, 3], senior=True)
    company.users["u1"]["leader_in_dept"] = [{"dept_id": 1, "leader": True}]
    state = listed_state(listed(company.users["u1"], 1), 1)
    details = user_state(company.users["u1"])
    assert "manager_userid" not in state.row
    assert "senior" not in state.row
    assert state.row == {name: details.row[name] for name in state.row} | {"details_pending": True}
    # of a department that was not listed only the membership is known
    unknown = {"leader": None, "sort_order": None}
    assert state.memberships == {1: details.memberships[1], 2: unknown, 3: unknown}
    assert state.roles is None


def test_roles_come_in_groups():
    groups = [
        {"name": "职务", "roles": [{"id": 7, "name": "财务"}, {"id": "8", "name": "人事"}, {"name": "?"}]},
        {},
    ]
    assert roles_state(groups) == {
        7: {"name": "财务", "group_name": "职务", "deleted_at": None},
        8: {"name": "人事", "group_name": "职务", "deleted_at": None},
    }


# -- What address-sync has the doctor and the probe try


class Listing:
    """A client whose root lists the family-school contacts first."""

    def __getattr__(self, name: str) -> Any:
        return None

    async def sub_departments(self, dept_id: int) -> list[dict[str, Any]]:
        return [{"dept_id": -1}, {"dept_id": 30}, {"dept_id": 20}]


async def test_departments_that_other_calls_refuse_are_tried_last() -> None:
    known = Known()
    [listsub] = [one for one in _calls(Listing(), known) if one.api == "v2/department/listsub"]  # type: ignore[arg-type]
    await listsub.call(1)
    assert known.ids("dept_id") == [1, 30, 20, -1]
