"""Replies of the Open API as bytes: successes, errors, bans, and types that are not what they should be."""

import json
from typing import Any

import pytest

from dingbridge.dingtalk.errors import (
    ApiError,
    BadRequest,
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
        (200, b"\n <html><body>denied</body></html>", BAN_S),
        (403, b"<html></html>", BAN_S),
    ],
)
def test_the_ban_has_no_error_code(status: int, body: bytes, wait_s: float) -> None:
    with pytest.raises(Unavailable, match="firewall") as caught:
        read(API, status, body)
    assert caught.value.retry_after_s == wait_s
    assert (caught.value.errcode, caught.value.about) == (None, "address")


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
