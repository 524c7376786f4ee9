"""DingTalk's Open API: token, address list, a call for each permission, what is registered there.

Each call reads one thing, and counts against the month's quota like any other. Where a call needs an id that
we do not have, it asks for one that there is not: "not found" shows that the call is allowed.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.dingtalk.error_codes import SYSTEM_BUSY
from dingbridge.dingtalk.errors import (
    ApiError,
    BadRequest,
    BudgetSpent,
    IpNotAllowed,
    NotFound,
    PermissionDenied,
    QuotaSpent,
    RateLimited,
    TokenInvalid,
    Unavailable,
)
from dingbridge.doctor.checks.own import Part
from dingbridge.doctor.findings import Finding, found
from dingbridge.settings.apps import AppCredentials

NOBODY: Final = "dingbridge-doctor"
"""An id that there is not."""
_SCOPE: Final = frozenset({"50002", "50004"})
_TIMED_OUT: Final = 15
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Probe:
    """One call, by its API's name, and the parts that make it."""

    api: str
    parts: tuple[str, ...]
    call: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Called:
    """What became of a probe: no error, or a harmless one, is "allowed"."""

    api: str
    parts: tuple[str, ...]
    error: ApiError | None = None


def probes(client: DingTalkClient, consumers: Sequence[Part], *, attachments: bool) -> list[Probe]:
    """One for each API that the chosen consumers of ours call. ``attachments``: approval downloads them."""
    names = {part.name for part in consumers}
    found_user = [NOBODY]

    async def members() -> None:
        async for user in client.department_users(1):
            found_user[0] = str(user.get("userid") or NOBODY)
            return

    async def ids() -> None:
        start_ms = int(time.time() * 1000) - _DAY_MS
        async for _ in client.approval_ids(NOBODY, start_ms=start_ms):
            return

    async def role_members() -> None:
        async for _ in client.role_users(1):
            return

    sync, archive = ("address-sync",), ("approval",)
    wanted = [
        Probe("auth/scopes", sync, client.visible_scope),
        Probe("v2/department/get", sync, lambda: client.department(1)),
        Probe("v2/department/listsub", sync, lambda: client.sub_departments(1)),
        Probe("v2/user/list", sync, members),
        Probe("v2/user/get", sync, lambda: client.user(found_user[0])),
        Probe("user/count", sync, lambda: client.user_count(only_active=False)),
        Probe("role/list", sync, client.role_groups),
        Probe("role/simplelist", sync, role_members),
        Probe("processinstance/get", archive, lambda: client.approval(NOBODY)),
        Probe("process/get_by_name", archive, lambda: client.process_code(NOBODY)),
        Probe("process/listbyuserid", archive, client.templates),
        Probe("processinstance/listids", archive, ids),
    ]
    if attachments:
        api = "processinstance/file/url/get"
        wanted.append(Probe(api, archive, lambda: client.attachment_url(NOBODY, NOBODY)))
    return [probe for probe in wanted if names.intersection(probe.parts)]


async def look(client: DingTalkClient, wanted: Sequence[Probe]) -> list[Called]:
    """The token first, then each probe; ends with the first error that would meet all of them."""
    called = []
    for probe in [Probe("gettoken", (), client.access_token), *wanted]:
        error = await _error_of(probe)
        called.append(Called(probe.api, probe.parts, error))
        if error is not None and error.unavailable and not isinstance(error, RateLimited):
            break
    return called


async def _error_of(probe: Probe) -> ApiError | None:
    try:
        await probe.call()
    except NotFound:
        return None
    except BadRequest:
        return None  # of an id that there is not; a missing right is said before that
    except ApiError as error:
        return error
    return None


def judge(called: Sequence[Called]) -> list[Finding]:
    """Token, address list, permissions."""
    findings = [of_error(one.error, one.api, one.parts) for one in called if one.error is not None]
    if findings:
        return findings
    apis = [one.api for one in called if one.api != "gettoken"]
    return [found("api.ok", count=len(apis), apis=apis)]


def of_error(error: ApiError, api: str, parts: Sequence[str] = ()) -> Finding:
    """What an error of the Open API means for all of us."""
    said = error.errmsg or (f"errcode {error.errcode}" if error.errcode is not None else "no error code")
    match error:
        case TokenInvalid():
            return found("api.credentials", said=said)
        case IpNotAllowed():
            return found("api.ip", said=said)
        case PermissionDenied():
            code = error.sub_code or str(error.errcode)
            kind = "api.scope" if code in _SCOPE else "api.permission"
            return found(kind, api=api, parts=list(parts), said=said)
        case QuotaSpent():
            return found("api.quota")
        case BudgetSpent():
            return found("api.budget", api=api)
        case Unavailable() if error.retry_after_s is not None:
            return found("api.banned", wait_s=round(error.retry_after_s))
        case Unavailable() if error.errcode in (SYSTEM_BUSY, _TIMED_OUT):
            return found("api.busy", api=api, said=said)
        case RateLimited():
            return found("api.busy", api=api, said=said)
        case _:
            return found("api.unreachable", said=str(error))


def judge_tags(
    registration: CallbackRegistration | ApiError | None,
    consumers: Sequence[Part],
    *,
    accepted: Sequence[AppCredentials],
    url: str | None,
) -> list[Finding]:
    """What is registered against what is read. ``registration``: an error that is not "none", or ``None``
    for "none"; ``accepted`` are the app's pairs of Token and AES key, ``url`` is
    what was given by hand."""
    from dingbridge.doctor.checks.url import shown

    if isinstance(registration, ApiError):
        return [found("tags.unknown")]
    if registration is None:
        return [found("tags.none")]
    findings = []
    at = shown(registration.url)
    if registration.token and registration.token not in {pair.token for pair in accepted}:
        findings.append(found("tags.token", url=at))
    if registration.aes_key and registration.aes_key not in {pair.aes_key for pair in accepted}:
        findings.append(found("tags.aes_key", url=at))
    if url is not None and url != registration.url:
        findings.append(found("tags.url", registered=at, url=shown(url)))
    read = {topic for part in consumers for topic in part.topics}
    if missing := sorted(read - set(registration.tags)):
        findings.append(found("tags.missing", tags=missing, url=at))
    if unread := sorted(set(registration.tags) - read):
        findings.append(found("tags.unread", tags=unread))
    if all(finding.code == "tags.unread" for finding in findings):
        findings.insert(0, found("tags.ok", url=at, count=len(read)))
    return findings
