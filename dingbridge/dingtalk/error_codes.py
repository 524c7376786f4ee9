"""DingTalk's error codes: from a reply's codes to the exception, its words and the next step.

What each code means stands in ``error_meanings``. A code that is not listed there is ``BadRequest``
(90000–90099: ``RateLimited``) and keeps DingTalk's own words, unless the HTTP status says more
(``replies.py``). Knows nothing of HTTP.
"""

import re
from typing import Any, Final

from dingbridge.dingtalk.error_meanings import (
    AUTHENTICATION,
    MEANINGS,
    NAMED,
    NEW_MEANINGS,
    PLATFORM,
    SLOW_DOWN,
    Meaning,
)
from dingbridge.dingtalk.errors import ApiError, BadRequest, NotFound, PermissionDenied, RateLimited

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
        return Meaning(RateLimited, "too many calls", SLOW_DOWN)
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
        if sub.startswith("isp."):
            number = PLATFORM
        if number in MEANINGS or number in _RATE_LIMITS:
            return number, sub
    return errcode, sub


def error_for(
    api: str, errcode: int, errmsg: str, sub_code: Any = None, *, name: str | None = None
) -> ApiError:
    """The exception for a reply with ``errcode`` (not 0), or of the new API with the ``name`` of one.
    ``errmsg`` must be free of secrets already."""
    decisive, sub = _decisive(errcode, errmsg, sub_code)
    code = f"errcode {errcode}" + (f", sub_code {sub}" if sub is not None else "")
    return _error(api, meaning(decisive), name or code, errmsg, errcode, sub, decisive, name)


def error_named(api: str, name: str, errmsg: str) -> ApiError | None:
    """The exception for a reply of the new API, if its ``name`` is a known one."""
    if name in NAMED:
        return error_for(api, NAMED[name], errmsg, name=name)
    if name in NEW_MEANINGS:
        return _error(api, NEW_MEANINGS[name], name, errmsg, name=name)
    return None


def _error(
    api: str,
    meaning: Meaning,
    code: str,
    errmsg: str,
    errcode: int | None = None,
    sub_code: str | None = None,
    decisive: int | None = None,
    name: str | None = None,
) -> ApiError:
    error, words, next_step = meaning
    said = " ".join(errmsg.split())[:_ERRMSG_MAX]
    return error(
        f"DingTalk {api}: {words} ({code}{': ' + said if said else ''}). {next_step}.",
        api=api,
        errcode=errcode,
        errmsg=said,
        sub_code=sub_code,
        decisive=decisive,
        retry_after_s=_wait_s(error, decisive),
        name=name,
    )


def _wait_s(error: type[ApiError], decisive: int | None) -> float | None:
    if error is RateLimited:
        return 1.0
    return PERMISSION_AGAIN_S if error is PermissionDenied and decisive not in OUT_OF_SCOPE else None
