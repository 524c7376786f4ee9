"""DingTalk's error codes in words: which exception each one is, what it means, and what to do next.

Source: server-api-error-codes-1 and call-frequency-limit on open.dingtalk.com; 853005, which is not there,
from opendingtalk/eapp-isv-quick-start-java#7. A code that is not listed is ``BadRequest`` (90000–90099:
``RateLimited``) and keeps DingTalk's own words, unless the HTTP status says more (``replies.py``). Knows
nothing of HTTP.
"""

import re
from typing import Any, Final, NamedTuple

from dingbridge.dingtalk.errors import (
    ApiError,
    BadRequest,
    CallbackExists,
    CallbackMissing,
    CallbackRefused,
    IpNotAllowed,
    NotFound,
    PermissionDenied,
    QuotaSpent,
    RateLimited,
    TokenInvalid,
    Unavailable,
)


class Meaning(NamedTuple):
    """What an error code means: the exception, what happened, what the operator does next."""

    error: type[ApiError]
    words: str
    next_step: str


SYSTEM_BUSY: Final = -1
AUTHENTICATION: Final = 88
"""Says nothing by itself: the code that counts is its ``sub_code``."""

_RETRY_LATER = "It passes by itself; try again later"
_FETCHED_ANEW = "A new access token is fetched; if this stays, compare DINGTALK_APP_KEY with the app's page"
_APP_KEYS = (
    "Compare DINGTALK_APP_KEY and DINGTALK_APP_SECRET with Client ID and Client Secret on the app's page"
)
_PERMISSION = "Open the app's permission page on open-dev.dingtalk.com and request the permission it names"
_SCOPE = "Widen the app's contact scope on its permission page, or leave this one out"
_SLOW_DOWN = "Calls are slowed down; if this stays, fewer programs should share this app"
_SAME_CREDENTIALS = (
    "The running ingress must have the same DINGTALK_TOKEN and DINGTALK_AES_KEY, and DINGTALK_OWNER_KEY must "
    "name the owner; its log says which of them differs"
)
_EXISTS = (
    "Look at it with `dingbridge callback show`; `dingbridge callback update --url …`, or "
    "`dingbridge callback register --replace`, puts the new one in its place"
)
_MISSING = "Register one with `dingbridge callback register --url …`"

MEANINGS: Final[dict[int, Meaning]] = {
    SYSTEM_BUSY: Meaning(Unavailable, "the platform is busy", _RETRY_LATER),
    15: Meaning(Unavailable, "the platform did not reach its own service in time", _RETRY_LATER),
    AUTHENTICATION: Meaning(PermissionDenied, "the platform refuses the app", _PERMISSION),
    33012: Meaning(NotFound, "no such userid", "The user has left, or never was in this company"),
    40001: Meaning(TokenInvalid, "the access token or the app secret is wrong", _APP_KEYS),
    40014: Meaning(TokenInvalid, "the access token is not valid", _FETCHED_ANEW),
    40035: Meaning(BadRequest, "a parameter is wrong", "Nothing to wait for: the call itself must change"),
    40089: Meaning(TokenInvalid, "the app key or the app secret is wrong", _APP_KEYS),
    41001: Meaning(TokenInvalid, "the access token is missing", _FETCHED_ANEW),
    42001: Meaning(TokenInvalid, "the access token has expired", _FETCHED_ANEW),
    43007: Meaning(PermissionDenied, "the company has not authorised this", _PERMISSION),
    50002: Meaning(PermissionDenied, "the user is outside the app's contact scope", _SCOPE),
    50004: Meaning(PermissionDenied, "the department is outside the app's contact scope", _SCOPE),
    60003: Meaning(NotFound, "no such department", "It has been deleted, or never was in this company"),
    60011: Meaning(PermissionDenied, "the app lacks the permission for this call", _PERMISSION),
    60019: Meaning(BadRequest, "a department id is wrong", "Nothing to wait for: the call must change"),
    60020: Meaning(
        IpNotAllowed,
        "the address that this machine calls from is not on the app's list of allowed addresses",
        "Add the outgoing address to the app's server egress IP list (开发配置 → 服务器出口IP)",
    ),
    60121: Meaning(NotFound, "no such user", "The user has left, or never was in this company"),
    71006: Meaning(CallbackExists, "a callback is registered already", _EXISTS),
    71007: Meaning(CallbackMissing, "no callback is registered", _MISSING),
    71008: Meaning(
        BadRequest,
        "an event type is not one that can be registered",
        "Leave out what DingTalk does not offer: choose with --events",
    ),
    71009: Meaning(
        CallbackRefused, "the URL answered, but not with the encrypted `success`", _SAME_CREDENTIALS
    ),
    71010: Meaning(
        CallbackRefused,
        "a parameter of the callback is missing or malformed",
        "DINGTALK_AES_KEY must have 43 characters of A-Z a-z 0-9, DINGTALK_TOKEN 6 to 63",
    ),
    71011: Meaning(
        CallbackRefused,
        "the URL is not one that DingTalk accepts",
        "Give a public http(s) URL with host and path, as https://bridge.example.com/callback",
    ),
    71012: Meaning(
        CallbackRefused,
        "DingTalk could not use the URL: not reachable, too slow, redirected, or another status than 200",
        "Start the ingress first; the URL must be reachable from the internet, answer within 1.5 s and not "
        "redirect. A 403 here: " + _SAME_CREDENTIALS[0].lower() + _SAME_CREDENTIALS[1:],
    ),
    71013: Meaning(
        CallbackRefused,
        "the URL's domain or address is not allowed",
        "Use a domain that the company's settings on open-dev.dingtalk.com allow",
    ),
    90002: Meaning(RateLimited, "everybody together calls this API too often", _SLOW_DOWN),
    90018: Meaning(RateLimited, "the app calls this API too often (20 a second)", _SLOW_DOWN),
    90020: Meaning(
        QuotaSpent,
        "the company's API calls of this month are used up",
        "They come back on the first of the month; a larger plan brings more",
    ),
    400002: Meaning(BadRequest, "a parameter is wrong", "Nothing to wait for: the call itself must change"),
    400040: Meaning(CallbackMissing, "no callback is registered", _MISSING),
    400041: Meaning(CallbackExists, "a callback is registered already", _EXISTS),
    853005: Meaning(
        TokenInvalid,
        "the suite's ticket is not valid",
        "DingTalk pushes a new one about every 5 h; see that its pushes reach the ingress, and that this is "
        "the suite whose app_key stands with them",
    ),
}

NAMED: Final[dict[str, int]] = {
    "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi": 90018,
    "Forbidden.AccessDenied.QpsLimitForApi": 90002,
    "Forbidden.AccessDenied.ApiCountLimitForOrg": 90020,
    "Forbidden.AccessDenied.IpNotInWhiteList": 60020,
    "Forbidden.AccessDenied.AccessTokenPermissionDenied": 60011,
    "InvalidAuthentication": 40014,
    "invalidClientIdOrSecret": 40089,
    "isp.top-remote-connection-timeout": 15,
    "invalidParameter": 400002,
    "processInstanceIdError": 400002,
    "processInstanceNotExist": 400002,
}
"""The new API's names for the same faults."""

_WRONG_PARAMETER: Final = frozenset({40035, 400002})
OUT_OF_SCOPE: Final = frozenset({50002, 50004})
"""The app works, but this user or department lies outside of what it may see (server-api-error-codes-1)."""
PERMISSION_AGAIN_S: Final = 900.0
"""How long to wait at least after any other refusal of a permission, in s.

DingTalk's words for 60011 are "not enough rights (user/department/agent)": it may say that the app has lost
the right, which holds for every event until somebody gives it back, or speak of this one user only, for
ever. So it is not ``unavailable``, where one such user would stop a partition; nor is it tried eight times in
a minute, where a right that is gone for an hour would fill the dead letters, and cost eight of the month's
calls for each event. With this wait an event's attempts last 1¾ h, while other keys go on.
"""

_RATE_LIMITS = range(90000, 90100)
_SUB_CODE_RE = re.compile(r"sub_?code\s*[=:]\s*\"?([\w.-]+)")
_ERRMSG_MAX = 300


def meaning(errcode: int) -> Meaning:
    """What ``errcode`` means; never fails."""
    if errcode in MEANINGS:
        return MEANINGS[errcode]
    if errcode in _RATE_LIMITS:
        return Meaning(RateLimited, "too many calls", _SLOW_DOWN)
    return Meaning(
        BadRequest, "the platform refuses the call", "Look the code up on DingTalk's page of error codes"
    )


def is_listed(errcode: int, errmsg: str, sub_code: Any = None) -> bool:
    """Whether the codes of a reply say what happened. If not, only its HTTP status does."""
    decisive, _ = _decisive(errcode, errmsg, sub_code)
    return decisive in _RATE_LIMITS or (decisive in MEANINGS and decisive != AUTHENTICATION)


def says_not_there(error: ApiError) -> bool:
    """Whether ``error`` says that what was asked for does not exist, where its id or name is all that the
    call says: DingTalk then calls it a wrong parameter.

    A code that is not listed does not say so. It may be trouble of the platform that passes, and who took it
    for "not there" would never ask again.
    """
    return isinstance(error, NotFound) or error.decisive in _WRONG_PARAMETER


def _decisive(errcode: int, errmsg: str, sub_code: Any) -> tuple[int, str | None]:
    """The code that counts, and the ``sub_code`` if there is one.

    For errcode 88 that decides, if it is known; older replies hold it in the text (``subcode=60011``).
    """
    sub = str(sub_code) if sub_code not in (None, "") else None
    if sub is None and errcode == AUTHENTICATION and (found := _SUB_CODE_RE.search(errmsg)):
        sub = found[1]
    if errcode == AUTHENTICATION and sub is not None:
        number = NAMED.get(sub, int(sub) if sub.isascii() and sub.isdigit() else errcode)
        if number in MEANINGS or number in _RATE_LIMITS:
            return number, sub
    return errcode, sub


def error_for(api: str, errcode: int, errmsg: str, sub_code: Any = None) -> ApiError:
    """The exception for a reply with ``errcode`` (not 0). ``errmsg`` must be free of secrets already."""
    decisive, sub = _decisive(errcode, errmsg, sub_code)
    error, words, next_step = meaning(decisive)
    said = " ".join(errmsg.split())[:_ERRMSG_MAX]
    code = f"errcode {errcode}" + (f", sub_code {sub}" if sub is not None else "")
    return error(
        f"DingTalk {api}: {words} ({code}{': ' + said if said else ''}). {next_step}.",
        api=api,
        errcode=errcode,
        errmsg=said,
        sub_code=sub,
        decisive=decisive,
        retry_after_s=_wait_s(error, decisive),
    )


def _wait_s(error: type[ApiError], decisive: int) -> float | None:
    if error is RateLimited:
        return 1.0
    return PERMISSION_AGAIN_S if error is PermissionDenied and decisive not in OUT_OF_SCOPE else None
