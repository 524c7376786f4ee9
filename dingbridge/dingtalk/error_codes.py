"""DingTalk's refusals: from a reply's codes to the exception, its words and the next step.

What each code means stands in ``error_meanings``. A code that is not listed there is ``BadRequest``
(90000–90099: ``RateLimited``) and keeps DingTalk's own words, unless the HTTP status says more
(``replies.py``). Knows nothing of HTTP.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from dingbridge.dingtalk.error_meanings import (
    AUTHENTICATION,
    BEGINNINGS,
    PERMISSION,
    REFUSALS,
    SLOW_DOWN,
    Refusal,
)
from dingbridge.dingtalk.errors import (
    About,
    ApiError,
    BadRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    WrongParameter,
)
from dingbridge.dingtalk.permissions import permission_of, to_tick

PERMISSION_AGAIN_S: Final = 900.0
"""How long to wait at least after a refusal of the app's right, in s.

DingTalk's words for 60011 are "not enough rights (user/department/agent)": it may say that the app has lost
the right, which holds for every event until somebody gives it back, or speak of this one user only, for
ever. So it is not ``unavailable``, where one such user would stop a partition: its event waits, and other
keys go on.
"""
RATE_AGAIN_S: Final = 1.0
_WAITS_S: Final[dict[About, float]] = {"right": PERMISSION_AGAIN_S, "api": RATE_AGAIN_S}

_RATE_LIMITS: Final = frozenset(map(str, range(90000, 90100)))
_TOO_MANY: Final = Refusal(RateLimited, "api", "too many calls", SLOW_DOWN)
_REFUSED_APP: Final = Refusal(PermissionDenied, "right", "the platform refuses the app", PERMISSION)
_REFUSED_CALL: Final = Refusal(
    BadRequest,
    "entity",
    "the platform refuses the call",
    "Look the code up on DingTalk's page of error codes",
)

_BY_CODE: Final = {code.casefold(): row for code, row in REFUSALS.items()}
_BEGINNINGS: Final = {begin.casefold(): REFUSALS[code] for begin, code in BEGINNINGS.items()}
_FORBIDDEN: Final = "forbidden.accessdenied."
_SUB_CODE_RE: Final = re.compile(r"sub_?code\s*[=:]\s*\"?([\w.-]+)")
_ERRMSG_MAX: Final = 300


def listed(code: str) -> Refusal | None:
    """The table's row for an errcode, a ``sub_code`` or a name; ``None`` where nothing is known of it.

    Careful clients have met names in another case, ``invalidParameter.processCode``, and
    ``hsfIntegrationErrorCspace(…)``. What begins with ``Forbidden.AccessDenied.`` may be a permission, a rate
    or the month's quota, so that much says nothing.
    """
    if code in _RATE_LIMITS and code not in _BY_CODE:
        return _TOO_MANY
    key = code.partition("(")[0].strip().casefold().removeprefix(_FORBIDDEN)
    begins = next((row for begin, row in _BEGINNINGS.items() if key.startswith(begin)), None)
    while key:
        if key in _BY_CODE:
            return _BY_CODE[key]
        key = key.rpartition(".")[0]
    return begins


def is_listed(errcode: int, errmsg: str, sub_code: Any = None) -> bool:
    """Whether the codes of a reply are known. If not, only its HTTP status counts."""
    code, _ = _decisive(errcode, errmsg, sub_code)
    return code != str(AUTHENTICATION) and listed(code) is not None


def means_not_there(error: ApiError) -> bool:
    """Whether ``error`` means that the entity does not exist, for a call that has only its id or name.

    A code that is not listed does not mean it: it may be trouble of the platform that passes, and taken for
    "not there" it would never be asked again.
    """
    return isinstance(error, NotFound | WrongParameter)


def _decisive(errcode: int, errmsg: str, sub_code: Any) -> tuple[str, str | None]:
    """The code that counts, and the ``sub_code`` if there is one.

    Of errcode 88 it is the ``sub_code``; older replies hold it in the text (``subcode=60011``).
    """
    sub = str(sub_code) if sub_code not in (None, "") else None
    if sub is None and errcode == AUTHENTICATION and (found := _SUB_CODE_RE.search(errmsg)):
        sub = found[1]
    return sub if errcode == AUTHENTICATION and sub is not None else str(errcode), sub


def error_for(api: str, errcode: int, errmsg: str, sub_code: Any = None) -> ApiError:
    """The exception for a reply with ``errcode`` (not 0). ``errmsg`` must be free of secrets already."""
    code, sub = _decisive(errcode, errmsg, sub_code)
    row = listed(code) or (_REFUSED_APP if errcode == AUTHENTICATION else _REFUSED_CALL)
    shown = f"errcode {errcode}" + (f", sub_code {sub}" if sub is not None else "")
    return _error(api, row, shown, errmsg, errcode=errcode, sub_code=sub, code=code)


def error_named(api: str, name: str, errmsg: str, permissions: Sequence[str] = ()) -> ApiError | None:
    """The exception for a reply of the new API, if its ``name`` is a known one. ``permissions`` are those
    that the reply names beside its text."""
    row = listed(name)
    return None if row is None else _error(api, row, name, errmsg, permissions, name=name)


def _error(
    api: str, row: Refusal, shown: str, errmsg: str, permissions: Sequence[str] = (), **codes: Any
) -> ApiError:
    error, about, words, next_step = row
    said = " ".join(errmsg.split())[:_ERRMSG_MAX]
    permission = permission_of(api, errmsg, permissions) if next_step == PERMISSION else None
    if permission is not None:
        next_step = to_tick(permission)
    return error(
        f"DingTalk {api}: {words} ({shown}{': ' + said if said else ''}). {next_step}.",
        api=api,
        errmsg=said,
        retry_after_s=_WAITS_S.get(about),
        about=about,
        permission=permission,
        **codes,
    )
