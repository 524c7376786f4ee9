"""Every error code leads to its exception, and the words to a next step."""

import pytest

from dingbridge.dingtalk import errors
from dingbridge.dingtalk.error_codes import (
    OUT_OF_SCOPE,
    PERMISSION_AGAIN_S,
    error_for,
    says_not_there,
)
from dingbridge.dingtalk.error_meanings import MEANINGS, NAMED
from dingbridge.dingtalk.errors import ApiError, PermissionDenied

UNAVAILABLE = {"TokenInvalid", "RateLimited", "QuotaSpent", "Unavailable", "IpNotAllowed"}


@pytest.mark.parametrize(
    ("errcode", "expected"),
    [
        (-1, "Unavailable"),
        (15, "Unavailable"),
        (88, "PermissionDenied"),
        (33012, "NotFound"),
        (40001, "TokenInvalid"),
        (40014, "TokenInvalid"),
        (40035, "BadRequest"),
        (40089, "TokenInvalid"),
        (41001, "TokenInvalid"),
        (42001, "TokenInvalid"),
        (43007, "PermissionDenied"),
        (50002, "PermissionDenied"),
        (50004, "PermissionDenied"),
        (60003, "NotFound"),
        (60011, "PermissionDenied"),
        (60019, "BadRequest"),
        (60020, "IpNotAllowed"),
        (60121, "NotFound"),
        (71006, "CallbackExists"),
        (71007, "CallbackMissing"),
        (71008, "BadRequest"),
        (71009, "CallbackRefused"),
        (71010, "CallbackRefused"),
        (71011, "CallbackRefused"),
        (71012, "CallbackRefused"),
        (71013, "CallbackRefused"),
        (90001, "RateLimited"),
        (90002, "RateLimited"),
        (90017, "RateLimited"),
        (90018, "RateLimited"),
        (90019, "RateLimited"),
        (90020, "QuotaSpent"),
        (400002, "BadRequest"),
        (400040, "CallbackMissing"),
        (400041, "CallbackExists"),
        (853005, "TokenInvalid"),
        (123456, "BadRequest"),
    ],
)
def test_code(errcode: int, expected: str) -> None:
    error = error_for("v2/user/get", errcode, "原因")
    assert type(error).__name__ == expected
    assert (error.api, error.errcode, error.errmsg) == ("v2/user/get", errcode, "原因")
    assert error.unavailable is (expected in UNAVAILABLE)
    assert f"errcode {errcode}: 原因" in str(error)
    waits = {"RateLimited": 1.0, "PermissionDenied": None if errcode in OUT_OF_SCOPE else PERMISSION_AGAIN_S}
    assert error.retry_after_s == waits.get(expected)


@pytest.mark.parametrize(
    ("sub_code", "errmsg", "expected"),
    [
        ("60011", "auth", "PermissionDenied"),
        (60020, "auth", "IpNotAllowed"),
        ("40014", "auth", "TokenInvalid"),
        ("90018", "auth", "RateLimited"),
        ("90020", "auth", "QuotaSpent"),
        ("isp.top-remote-connection-timeout", "auth", "Unavailable"),
        ("Forbidden.AccessDenied.QpsLimitForApi", "auth", "RateLimited"),
        (None, "ding talk error[subcode=40014,submsg=不合法的access_token]", "TokenInvalid"),
        ("nobody-knows", "auth", "PermissionDenied"),
        ("123456", "auth", "PermissionDenied"),
        ("", "auth", "PermissionDenied"),
    ],
)
def test_the_sub_code_of_88_decides(sub_code: str | int | None, errmsg: str, expected: str) -> None:
    error = error_for("v2/user/get", 88, errmsg, sub_code)
    assert type(error).__name__ == expected
    assert error.errcode == 88
    assert (error.retry_after_s == PERMISSION_AGAIN_S) is (expected == "PermissionDenied")
    if sub_code:
        assert error.sub_code == str(sub_code)
        assert f"sub_code {sub_code}" in str(error)


def test_only_codes_that_are_listed_say_that_something_is_not_there() -> None:
    for errcode in (33012, 60003, 60121, 40035, 400002):
        assert says_not_there(error_for("v2/user/get", errcode, ""))
    assert says_not_there(error_for("v2/user/get", 88, "auth", "400002"))
    for errcode in (-1, 88, 500, 50002, 60019, 90018, 123456):
        assert not says_not_there(error_for("v2/user/get", errcode, ""))
    assert says_not_there(error_for("v2/user/get", NAMED["processInstanceNotExist"], ""))


def test_refused_addresses_are_a_matter_of_permission() -> None:
    assert isinstance(error_for("gettoken", 60020, ""), PermissionDenied)


def test_every_meaning_is_a_sentence_and_a_next_step() -> None:
    for errcode, (error, words, next_step) in MEANINGS.items():
        assert issubclass(error, ApiError), errcode
        assert words, errcode
        assert not words.endswith("."), errcode
        assert next_step[0].isupper(), errcode
        assert not next_step.endswith("."), errcode


def test_long_words_of_the_platform_are_cut() -> None:
    assert len(error_for("gettoken", 40035, "x\n" * 1000).errmsg) == 300


def test_the_drawing_of_the_tree_names_every_class() -> None:
    drawn = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert name in drawn
