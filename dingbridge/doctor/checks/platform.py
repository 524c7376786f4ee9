"""DingTalk's Open API: token, address list, a call for each permission, what is registered there.

Each call reads one thing, and counts against the month's quota like any other. Where a call needs an id that
we do not have, it asks for one that there is not: "not found" shows that the call is allowed.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.dingtalk.error_meanings import SYSTEM_BUSY
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
from dingbridge.doctor.checks.settings import Part
from dingbridge.doctor.checks.url import shown
from dingbridge.doctor.findings import Finding, found
from dingbridge.settings.apps import AppCredentials

NOBODY: Final = "dingbridge-doctor"
"""An id that there is not: for calls that need one of something."""
_SCOPE: Final = frozenset({"50002", "50004"})
_TIMED_OUT: Final = 15


class Call(NamedTuple):
    """One call of the Open API that a part makes, by its API's name; ``call`` tries it."""

    api: str
    call: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Probe:
    """One call that is tried, and the parts that make it."""

    api: str
    parts: tuple[str, ...]
    call: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Called:
    """What became of a probe: no error, or a harmless one, is "allowed"."""

    api: str
    parts: tuple[str, ...]
    error: ApiError | None = None


def probes(calls: Mapping[str, Sequence[Call]]) -> list[Probe]:
    """Each call once, of ``{part: calls}``, as the first part that makes it tries it."""
    of_api: dict[str, Probe] = {}
    for part, made in calls.items():
        for api, call in made:
            known = of_api.get(api, Probe(api, (), call))
            of_api[api] = Probe(api, (*known.parts, part), known.call)
    return list(of_api.values())


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
    return [found("api.ok", count=len(apis), apis=apis)] if apis else [found("api.token")]


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
