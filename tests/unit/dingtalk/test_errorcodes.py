"""Every code leads to its exception, to what it is about, and its words to a next step."""

import re
from pathlib import Path

import pytest

from dingbridge.dingtalk import errors
from dingbridge.dingtalk.error_codes import (
    PERMISSION_AGAIN_S,
    error_for,
    error_named,
    listed,
    means_not_there,
)
from dingbridge.dingtalk.error_meanings import BEGINNINGS, REFUSALS
from dingbridge.dingtalk.errors import ApiError, PermissionDenied
from dingbridge.dingtalk.permissions import PERMISSIONS

ROOT = Path(__file__).parents[3]
FORBIDDEN = "Forbidden.AccessDenied."
WAITS = {"right": PERMISSION_AGAIN_S, "api": 1.0}


def error_of(code: str, errmsg: str = "原因", *, api: str = "v2/user/get") -> ApiError:
    """As the old host says it, or the new one."""
    if code.lstrip("-").isdigit():
        return error_for(api, int(code), errmsg)
    named = error_named(api, code, errmsg)
    assert named is not None, code
    return named


def test_every_row_makes_its_error_with_words_and_a_next_step() -> None:
    for code in REFUSALS:
        row, error = REFUSALS[code], error_of(code)
        assert type(error) is row.error
        assert (error.about, error.code, error.errmsg) == (row.about, code, "原因")
        assert error.unavailable is (row.about not in ("entity", "right"))
        assert error.retry_after_s == WAITS.get(row.about)
        for said in (row.words, f"{code}: 原因"):
            assert said in str(error)
        for text in (row.words, row.next_step):
            assert text
            assert not text.endswith(".")
        assert row.next_step[0].isupper()


def test_a_sub_code_of_88_means_what_it_means_alone() -> None:
    for code in REFUSALS:
        error, alone = error_for("v2/user/get", 88, "auth", code), error_of(code, "auth")
        assert (type(error), error.about, error.code) == (type(alone), alone.about, code)
        assert (error.errcode, error.sub_code) == (88, code)
        assert f"sub_code {code}" in str(error)


def test_a_name_is_known_however_it_is_written() -> None:
    for code in [code for code in REFUSALS if not code.lstrip("-").isdigit()]:
        for written in (
            code.lower(),
            code.upper(),
            f"{code}.processCode",
            f"{code}(x.y: z)",
            FORBIDDEN + code,
        ):
            assert listed(written) == REFUSALS[code], written


@pytest.mark.parametrize(
    ("code", "error", "about"),
    [
        # issue's and pages' pairs: what another belief would cost is told in the decision
        ("60011", "PermissionDenied", "right"),
        (FORBIDDEN + "AccessTokenPermissionDenied", "PermissionDenied", "right"),
        ("50002", "PermissionDenied", "entity"),
        ("50004", "PermissionDenied", "entity"),
        ("needAuth", "PermissionDenied", "entity"),
        (FORBIDDEN + "IpNotInWhiteList", "IpNotAllowed", "address"),
        (FORBIDDEN + "ApiCountLimitForOrg", "QuotaSpent", "month"),
        (FORBIDDEN + "QpsLimitForApi", "RateLimited", "api"),
        (FORBIDDEN + "QpmLimitForSuitekeyAndOrgAndApi", "RateLimited", "api"),
        (FORBIDDEN + "QpsLimitForSomethingNew", "RateLimited", "api"),
        ("90007", "RateLimited", "api"),
        ("hsfIntegrationErrorCspace(no node)", "Unavailable", "busy"),
        ("isp.top-remote-connection-timeout", "Unavailable", "busy"),
        ("InvalidParameter", "BadRequest", "entity"),
        ("invalidParameter.processCode", "BadRequest", "entity"),
        ("processInstNotExist", "NotFound", "entity"),
        ("userNotExist", "ReferenceMissing", "entity"),
    ],
)
def test_what_a_code_is_about(code: str, error: str, about: str) -> None:
    row = listed(code)
    assert row is not None
    assert (row.error.__name__, row.about) == (error, about)


@pytest.mark.parametrize("code", ["123456", "nobodyKnows", FORBIDDEN + "Else", FORBIDDEN, "", "."])
def test_nothing_is_known_of_others(code: str) -> None:
    assert listed(code) is None


def test_what_is_known_by_its_beginning_has_no_row_of_its_own() -> None:
    for begin, code in BEGINNINGS.items():
        assert listed(begin + "Unheard") == REFUSALS[code]


@pytest.mark.parametrize(
    ("sub_code", "errmsg", "expected", "about"),
    [
        (60020, "auth", "IpNotAllowed", "address"),
        (None, "ding talk error[subcode=40014,submsg=不合法的access_token]", "TokenInvalid", "token"),
        (None, "ding talk error[subcode=60011,submsg=没有权限]", "PermissionDenied", "right"),
        ("nobody-knows", "auth", "PermissionDenied", "right"),
        ("123456", "auth", "PermissionDenied", "right"),
        ("", "auth", "TokenInvalid", "token"),
        (None, "auth", "TokenInvalid", "token"),
    ],
)
def test_88_says_nothing_but_by_its_sub_code(
    sub_code: str | int | None, errmsg: str, expected: str, about: str
) -> None:
    error = error_for("v2/user/get", 88, errmsg, sub_code)
    assert (type(error).__name__, error.about, error.errcode) == (expected, about, 88)


def test_a_code_that_nobody_knows_is_the_calls_fault() -> None:
    error = error_for("v2/user/get", 123456, "原因")
    assert (type(error).__name__, error.about, error.unavailable) == ("BadRequest", "entity", False)


def test_a_sub_code_of_any_length_is_looked_up() -> None:
    assert error_for("v2/user/get", 88, "", "9" * 5_000).about == "right"


def test_only_what_says_so_is_not_there() -> None:
    for code in REFUSALS:
        expected = REFUSALS[code].error.__name__ in ("NotFound", "WrongParameter")
        assert means_not_there(error_of(code)) is expected
        assert not means_not_there(error_for("v2/user/get", 123456, ""))


DETAIL = "v1.0/workflow/processInstances"


@pytest.mark.parametrize(
    ("api", "errmsg", "named", "permission"),
    [
        (DETAIL, "应用尚未开通所需的权限：[Document.AIAssistant.Read]", (), "Document.AIAssistant.Read"),
        (DETAIL, "no", ("Workflow.Instance.Write",), "Workflow.Instance.Write"),
        (DETAIL, "no", (), "Workflow.Instance.Read"),
        (
            "v2/user/get",
            "[subcode=60011,submsg=应用尚未开通所需的权限：[qyapi_get_member]]",
            (),
            "qyapi_get_member",
        ),
        ("v2/department/get", "ding talk error[subcode=60011]", (), "qyapi_get_department_list"),
        ("v2/user/getbymobile", "no", (), "qyapi_get_member_by_mobile"),
        ("a/call/of/another", "管理员权限不足(user/department/agent)", (), None),
    ],
)
def test_a_right_that_is_missing_is_named(
    api: str, errmsg: str, named: tuple[str, ...], permission: str | None
) -> None:
    error = error_named(api, FORBIDDEN + "AccessTokenPermissionDenied", errmsg, named)
    assert isinstance(error, PermissionDenied)
    assert error.permission == permission
    assert (f"Tick {permission} on the app's permission page" in str(error)) is (permission is not None)


def test_what_is_no_matter_of_a_right_names_none() -> None:
    assert {error_of(code).permission for code in REFUSALS if REFUSALS[code].about != "right"} == {None}
    premium = error_named(DETAIL, "benefit.status.invalid", "no")
    assert (premium.about, premium.permission) == ("right", None), "it is bought, and not ticked"  # type: ignore[union-attr]
    assert all(re.fullmatch(r"qyapi_\w+|[A-Z]\w+\.\w+\.(Read|Write)", name) for name in PERMISSIONS.values())


def test_refused_addresses_are_a_matter_of_permission() -> None:
    assert isinstance(error_for("gettoken", 60020, ""), PermissionDenied)


def test_long_words_of_the_platform_are_cut() -> None:
    assert len(error_for("gettoken", 40035, "x\n" * 1000).errmsg) == 300


def test_the_drawing_of_the_tree_names_every_class() -> None:
    drawn = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert name in drawn


@pytest.mark.parametrize("guide", ["doctor.md", "doctor.zh-CN.md"])
def test_the_guide_lists_every_code_under_what_it_is_about(guide: str) -> None:
    text = (ROOT / "docs" / "guide" / guide).read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE)
    listed_there = {
        about: sorted(re.findall(r"`([^`]+)`", codes)) for about, codes in rows if about in ABOUTS
    }
    expected = {
        about: sorted(code for code, row in REFUSALS.items() if row.about == about)
        for about in sorted(ABOUTS)
    }
    assert {about: listed_there.get(about) for about in expected} == expected


ABOUTS = {row.about for row in REFUSALS.values()}
