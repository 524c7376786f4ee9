"""Replies of the Open API as bytes: successes, errors, bans, and types that are not what they should be."""

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
from dingbridge.dingtalk.errors import (
    ApiError,
    BadRequest,
    InvalidField,
    NotFound,
    PermissionDenied,
    QuotaSpent,
    RateLimited,
    TokenInvalid,
    Unavailable,
)
from dingbridge.dingtalk.replies import BAN_S, boolean, integer, read

API = "v2/user/get"


def content(reply: Any) -> bytes:
    return json.dumps(reply).encode()


@pytest.mark.parametrize("errcode", [0, "0", 0.0])
def test_success(errcode: Any) -> None:
    assert read(API, 200, content({"errcode": errcode, "result": {"userid": "u1"}}))["result"] == {
        "userid": "u1"
    }


@pytest.mark.parametrize("errcode", [60121, "60121"])
def test_error_code_as_number_or_text(errcode: Any) -> None:
    with pytest.raises(NotFound) as caught:
        read(API, 200, content({"errcode": errcode, "errmsg": "找不到该用户"}))
    assert caught.value.errcode == 60121


def test_sub_message_stands_with_the_message() -> None:
    reply = {"errcode": 88, "errmsg": "auth", "sub_code": "40014", "sub_msg": "不合法的access_token"}
    with pytest.raises(TokenInvalid, match=r"auth: 不合法的access_token"):
        read(API, 200, content(reply))


def test_secrets_are_struck_out_of_the_platforms_words() -> None:
    reply = {"errcode": 40014, "errmsg": "bad token T0KEN", "sub_msg": "T0KEN!"}
    with pytest.raises(TokenInvalid) as caught:
        read(API, 200, content(reply), secrets=("T0KEN", ""))
    assert "T0KEN" not in str(caught.value)
    assert "T0KEN" not in caught.value.errmsg
    assert "***" in str(caught.value)


BAN = {"status": 1111, "wait": 5, "source": "x5", "punish": "deny", "uuid": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("status", "body", "wait_s"),
    [
        (200, content(BAN), 5.0),
        (403, content(BAN), 5.0),
        (200, content({**BAN, "wait": "60"}), 60.0),
        (200, b"<!DOCTYPE html><script>var x=" + content(BAN) + b"</script>", 5.0),
        (200, content({"punish": "deny"}), BAN_S),
    ],
)
def test_the_ban_has_no_error_code(status: int, body: bytes, wait_s: float) -> None:
    with pytest.raises(Unavailable, match="firewall") as caught:
        read(API, status, body)
    assert caught.value.retry_after_s == wait_s
    assert (caught.value.errcode, caught.value.about) == (None, "address")


@pytest.mark.parametrize(("status", "body"), [(200, b"\n <html>denied</html>"), (403, b"<html></html>")])
def test_any_other_page_may_be_in_place_of_this_one_answer(status: int, body: bytes) -> None:
    with pytest.raises(Unavailable, match=r"firewall .* a proxy") as caught:
        read(API, status, body)
    assert (caught.value.about, caught.value.retry_after_s) == ("busy", None)


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (500, b"oops", Unavailable, "HTTP 500"),
        (502, b"<html>bad gateway</html>", Unavailable, "HTTP 502"),
        (504, b"", Unavailable, "HTTP 504"),
        (429, b"{}", RateLimited, "HTTP 429"),
        (301, b"<html>moved</html>", Unavailable, "HTTP 301"),
        (404, b"<html>nothing</html>", Unavailable, "DINGTALK_API_BASE"),
        (404, content({"errcode": 0}), Unavailable, "HTTP 404"),
        (200, b"", Unavailable, "without an error code"),
        (200, b"[]", Unavailable, "without an error code"),
        (200, b"null", Unavailable, "without an error code"),
        (200, b"{}", Unavailable, "without an error code"),
        (200, b'{"errcode":true}', Unavailable, "without an error code"),
        (200, b"\xff\xfe\xff", Unavailable, "without an error code"),
        (200, b"[" * 100_000, Unavailable, "without an error code"),
        (
            400,
            content({"code": "Forbidden.AccessDenied.QpsLimitForApi", "message": "x"}),
            RateLimited,
            "QpsLimit",
        ),
        (400, content({"code": "invalidClientIdOrSecret", "message": "x"}), TokenInvalid, "app secret"),
        (400, content({"code": "invalidParameter", "message": "x"}), BadRequest, "invalidParameter: x"),
        (400, content({"code": "nobodyKnows", "message": "x"}), BadRequest, "nobodyKnows: x"),
        # a code that nobody knows says less than the status
        (500, content({"code": "someError", "message": "x"}), Unavailable, "HTTP 500 .someError: x"),
        (503, content({"code": "ServiceUnavailable", "message": "x"}), Unavailable, "HTTP 503"),
        (504, content({"code": "timeout"}), Unavailable, "HTTP 504"),
        (429, content({"code": "Throttling.User", "message": "x"}), RateLimited, "Throttling.User: x"),
        (500, content({"errcode": 500, "errmsg": "x"}), Unavailable, "HTTP 500 .errcode 500: x"),
        (429, content({"errcode": 123456, "errmsg": "x"}), RateLimited, "errcode 123456: x"),
        (503, content({"errcode": 88, "errmsg": "x", "sub_code": "nobody-knows"}), Unavailable, "HTTP 503"),
        # one that is known says more
        (500, content({"errcode": 60121, "errmsg": "x"}), NotFound, "no such user"),
        (500, content({"errcode": 88, "errmsg": "x", "sub_code": "40014"}), TokenInvalid, "not valid"),
        (429, content({"code": "Forbidden.AccessDenied.ApiCountLimitForOrg"}), QuotaSpent, "used up"),
        (403, content({"code": "Forbidden.AccessDenied.ApiCountLimitForOrg"}), QuotaSpent, "used up"),
        (403, content({"code": "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi"}), RateLimited, "minute"),
        (400, content({"code": "internalError", "message": "x"}), Unavailable, "internalError: x"),
        # careful clients provide for a fault inside a success
        (200, content({"code": "InvalidParameter", "success": False}), BadRequest, "InvalidParameter"),
        (200, content({"code": "processInstanceNotExist", "message": "x"}), NotFound, "no such approval"),
    ],
)
def test_answers_that_are_not_what_they_should_be(
    status: int, body: bytes, error: type[ApiError], words: str
) -> None:
    with pytest.raises(error, match=words):
        read(API, status, body)


@pytest.mark.parametrize("detail", ["accessdenieddetail", "accessDeniedDetail"])
def test_a_refused_right_is_named_by_the_reply(detail: str) -> None:
    reply = {
        "requestid": "019F",
        "code": "Forbidden.AccessDenied.AccessTokenPermissionDenied",
        "message": "应用尚未开通所需的权限：[Workflow.Instance.Read]",
        detail: {"requiredScopes": ["Workflow.Form.Read", 7]},
    }
    with pytest.raises(PermissionDenied, match=r"Tick Workflow\.Form\.Read on") as caught:
        read(API, 403, content(reply), new_api=True)
    assert (caught.value.about, caught.value.permission) == ("right", "Workflow.Form.Read")
    for nonsense in ({}, None, "x", {"requiredScopes": "all"}):
        with pytest.raises(PermissionDenied, match=r"Tick Workflow\.Instance\.Read on"):
            read(API, 403, content({**reply, detail: nonsense}), new_api=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        ("7", 7),
        ("-7", -7),
        (7.0, 7),
        (7.5, None),
        (True, None),
        ("", None),
        ("７", None),
        (None, None),
    ],
)
def test_integer(value: object, expected: int | None) -> None:
    assert integer(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), ("true", True), ("False", False), (1, True), ("0", False), ("", None), (None, None)],
)
def test_boolean(value: object, expected: bool | None) -> None:
    assert boolean(value) is expected


# -- Fields of a write: DingTalk's limits hold before anything is sent, and its forms are met


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
