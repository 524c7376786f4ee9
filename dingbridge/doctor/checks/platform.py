"""DingTalk's Open API: token, address list, a call for each permission, what is registered there.

Each call reads one thing, and counts against the month's quota like any other. Where a call needs an id that
we do not have, it asks for one that there is not: "not found" shows that the call is allowed. What a refusal
is about stands in ``dingbridge/dingtalk/error_meanings.py``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.dingtalk.errors import ApiError, BudgetSpent, IpNotAllowed, PermissionDenied
from dingbridge.doctor.checks.settings import Part
from dingbridge.doctor.checks.url import shown
from dingbridge.doctor.findings import Both, Finding, found
from dingbridge.settings.apps import AppCredentials

NOBODY: Final = "dingbridge-doctor"
"""An id that there is not: for calls that need one of something."""
ROOT: Final = 1
_UNNAMED: Final = Both("the permission that DingTalk names", "钉钉指出的权限")


class Known:
    """Ids for calls that take one, by kind (``userid``): what earlier calls have returned, and the root
    department unless the app sees only a part. Kept in memory only."""

    def __init__(self) -> None:
        self._ids: dict[str, list[Any]] = {"dept_id": [ROOT]}

    def add(self, kind: str, *ids: Any) -> None:
        """Keep those of ``ids`` that are one."""
        kept = self._ids.setdefault(kind, [])
        kept += [one for one in ids if one not in (None, "", *kept)]

    def sees(self, departments: Sequence[Any], users: Sequence[Any]) -> None:
        """The app's scope (GET /auth/scopes): where the root is not in it, it is refused (50004)."""
        if ROOT not in departments:
            self._ids["dept_id"] = list(departments)
        self.add("userid", *users)

    def ids(self, kind: str) -> list[Any]:
        """Those of this kind."""
        return self._ids.get(kind, [])


class Call(NamedTuple):
    """One call of the Open API that a part makes, by its API's name. ``call`` tries it, with an id of the
    kind ``takes`` (``NOBODY`` where none is known, and for a call that takes none). The probe makes it
    ``most`` times at most, for so many ids or once more with a new token; and not what ``writes``, even if
    only of nobody."""

    api: str
    call: Callable[[Any], Awaitable[Any]]
    takes: str = ""
    writes: bool = False
    most: int = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """One call that is tried, and the parts that make it."""

    call: Call
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Called:
    """The outcome of a probe: no error, or a harmless one, is "allowed"."""

    api: str
    parts: tuple[str, ...]
    error: ApiError | None = None


def probes(calls: Mapping[str, Sequence[Call]]) -> list[Probe]:
    """Each call once, of ``{part: calls}``, as the first of its parts makes it."""
    of_api: dict[str, Probe] = {}
    for part, made in calls.items():
        for call in made:
            first = of_api.get(call.api, Probe(call, ()))
            of_api[call.api] = Probe(first.call, (*first.parts, part))
    return list(of_api.values())


async def look(client: DingTalkClient, wanted: Sequence[Probe], known: Known) -> list[Called]:
    """The token first, then each probe; ends with the first error that would meet all of them."""
    called = []
    for call, parts in [(token_call(client), ()), *((probe.call, probe.parts) for probe in wanted)]:
        error = await _error_of(call, (known.ids(call.takes) or [NOBODY])[0])
        called.append(Called(call.api, parts, error))
        if error is not None and error.unavailable and error.about != "api":
            break
    return called


def token_call(client: DingTalkClient) -> Call:
    """What comes before all others."""
    return Call("gettoken", lambda _: client.access_token())


async def _error_of(call: Call, of: Any) -> ApiError | None:
    try:
        await call.call(of)
    except ApiError as error:
        if error.about == "entity" and not isinstance(error, PermissionDenied):
            return None  # of an id that there is not; a missing right is said before that
        return error
    return None


def judge(called: Sequence[Called]) -> list[Finding]:
    """Token, address list, permissions: one finding for each permission that is missing."""
    refused: dict[str, list[tuple[ApiError, Called]]] = {}
    for one in called:
        if one.error is not None:
            missing = one.error.permission if one.error.about == "right" else None
            refused.setdefault(missing or one.api, []).append((one.error, one))
    if refused:
        return [
            of_error(
                same[0][0],
                ", ".join(one.api for _, one in same),
                list(dict.fromkeys(part for _, one in same for part in one.parts)),
            )
            for same in refused.values()
        ]
    apis = [one.api for one in called if one.api != "gettoken"]
    return [found("api.ok", count=len(apis), apis=apis)] if apis else [found("api.token")]


def of_error(error: ApiError, api: str, parts: Sequence[str] = ()) -> Finding:
    """What an error of the Open API means for all of us."""
    said = error.errmsg or (f"errcode {error.errcode}" if error.errcode is not None else "no error code")
    match error.about:
        case "token":
            return found("api.credentials", said=said)
        case "address" if isinstance(error, IpNotAllowed):
            return found("api.ip", said=said)
        case "address":
            return found("api.banned", wait_s=round(error.retry_after_s or 0))
        case "right":
            return found(
                "api.permission",
                api=api,
                parts=list(parts),
                said=said,
                permission=error.permission or _UNNAMED,
            )
        case "entity":
            return found("api.scope", api=api, parts=list(parts), said=said)
        case "month":
            return found("api.budget", api=api) if isinstance(error, BudgetSpent) else found("api.quota")
        case "busy" if error.code is None:
            return found("api.unreachable", said=str(error))
        case _:
            return found("api.busy", api=api, said=said)


def judge_tags(
    registration: CallbackRegistration | ApiError | None,
    consumers: Sequence[Part],
    *,
    accepted: Sequence[AppCredentials],
    url: str | None,
) -> list[Finding]:
    """What is registered against what is read. ``registration``: an error that is not "none", or ``None``
    for "none"; ``accepted`` are the app's pairs of Token and AES key, none where these are not known;
    ``url`` is what was given by hand."""
    if isinstance(registration, ApiError):
        return [found("tags.unknown")]
    if registration is None:
        return [found("tags.none")]
    findings = []
    at = shown(registration.url)
    if accepted and registration.token and registration.token not in {pair.token for pair in accepted}:
        findings.append(found("tags.token", url=at))
    if accepted and registration.aes_key and registration.aes_key not in {pair.aes_key for pair in accepted}:
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
