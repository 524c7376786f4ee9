"""Fields of a write: DingTalk's limits hold before anything is sent, and its forms are met."""

import json
from inspect import get_annotations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.api import DingTalkClient, objects
from dingbridge.dingtalk.api.fields import DEPARTMENT, USER, encoded
from dingbridge.dingtalk.api.shapes import USER as USER_SHAPE
from dingbridge.dingtalk.api.shapes import typed
from dingbridge.dingtalk.errors import BadRequest, InvalidField

PERSON = {"userid": "u1", "name": "张三", "mobile": "+86-13800000001", "dept_id_list": [1, 7]}


def test_values_are_put_into_dingtalks_form() -> None:
    fields = {**PERSON, "extension": {"爱好": "围棋", "工位": None}, "hide_mobile": True, "hired_date": 1}
    body = encoded("v2/user/create", USER, fields)
    assert body["dept_id_list"] == "1,7"
    assert json.loads(body["extension"]) == {"爱好": "围棋", "工位": ""}
    assert "爱好" in body["extension"]
    assert {name: body[name] for name in ("name", "mobile", "hide_mobile", "hired_date")} == {
        "name": "张三",
        "mobile": "+86-13800000001",
        "hide_mobile": True,
        "hired_date": 1,
    }
    managers = encoded("v2/department/update", DEPARTMENT, {"dept_manager_userid_list": ["u1", "u2"]})
    assert managers == {"dept_manager_userid_list": "u1,u2"}


LIMITS = [
    *(("userid", 64), ("name", 80), ("title", 200), ("job_number", 50), ("email", 50), ("telephone", 50)),
    *(("work_place", 50), ("remark", 1024)),
]


@pytest.mark.parametrize(("field", "most"), LIMITS)
def test_the_limit_of_a_text_holds(field: str, most: int) -> None:
    assert encoded("v2/user/update", USER, {field: "字" * most}) == {field: "字" * most}
    with pytest.raises(InvalidField, match=f"{field} has {most + 1} characters") as caught:
        encoded("v2/user/update", USER, {field: "字" * (most + 1)})
    assert caught.value.field == field
    assert isinstance(caught.value, BadRequest)
    assert not caught.value.unavailable


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        (USER, "dept_id_list", []),
        (USER, "dept_id_list", list(range(101))),
        (USER, "dept_id_list", "1,7"),
        (USER, "extension", {"a": "x" * 2000}),
        (USER, "extension", {"a": 1}),
        (USER, "hired_date", "2026-01-01"),
        (USER, "hired_date", True),
        (USER, "hide_mobile", 1),
        (USER, "title", None),
        (USER, "title", ""),
        (USER, "title", "\ud800"),
        (USER, "active", True),
        (DEPARTMENT, "name", "研发-一部"),
        (DEPARTMENT, "name", "研发，一部"),
        (DEPARTMENT, "name", "字" * 65),
        (DEPARTMENT, "dept_manager_userid_list", ["u1,u2"]),
    ],
)
def test_what_dingtalk_would_not_take_is_named(table: Any, field: str, value: Any) -> None:
    with pytest.raises(InvalidField) as caught:
        encoded("v2/user/update", table, {field: value})
    assert caught.value.field == field
    assert f"not called, {field} " in str(caught.value)


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(max_size=3))


@given(st.sampled_from([(USER, f) for f in USER] + [(DEPARTMENT, f) for f in DEPARTMENT]), VALUES)
def test_a_field_goes_out_in_a_form_that_json_can_hold_or_is_refused(where: Any, value: Any) -> None:
    table, field = where
    try:
        body = encoded("v2/user/update", table, {field: value})
    except InvalidField:
        return
    assert json.loads(json.dumps(body, ensure_ascii=False).encode()) == body


# -- The table of replies: what the client takes from it


GUIDES = Path(__file__).parents[3] / "docs" / "reference"


def test_types_are_mended_where_they_are_declared_and_nowhere_else() -> None:
    assert typed(
        {
            "userid": "001",
            "job_number": "42",
            "mobile": "13800000000",
            "dept_id_list": ["1", 2, "x"],
            "dept_order_list": [{"dept_id": "2", "order": "176294576350761512"}],
            "leader_in_dept": [{"dept_id": 2, "leader": "false"}],
            "role_list": [{"id": "100", "name": "1"}],
            "hired_date": "",
            "active": "true",
            "parent_id": "7",
        },
        USER_SHAPE,
    ) == {
        "userid": "001",
        "job_number": "42",
        "mobile": "13800000000",
        "dept_id_list": [1, 2, "x"],
        "dept_order_list": [{"dept_id": 2, "order": 176294576350761512}],
        "leader_in_dept": [{"dept_id": 2, "leader": False}],
        "role_list": [{"id": 100, "name": "1"}],
        "hired_date": "",
        "active": True,
        "parent_id": "7",
    }


@pytest.mark.parametrize("page", ["dingtalk-client.md", "dingtalk-client.zh-CN.md"])
def test_the_guide_names_every_call_and_every_type(page: str) -> None:
    guide = (GUIDES / page).read_text(encoding="utf-8")
    calls = {name: getattr(DingTalkClient, name) for name in dir(DingTalkClient) if not name.startswith("_")}
    assert [name for name in calls if f"`{name}" not in guide] == []
    returned = {str(get_annotations(call).get("return")) for call in calls.values() if callable(call)}
    types = [name for name in vars(objects) if any(f"{objects.__name__}.{name}" in text for text in returned)]
    assert len(types) > 10
    assert [name for name in types if f"`{name}" not in guide and f"[{name}]" not in guide] == []
