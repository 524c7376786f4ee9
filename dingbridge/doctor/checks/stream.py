"""Stream mode: the hosts that its connections go to, and what the running ingress knows of them.

No API returns whether Stream is chosen in the console, or which events are ticked there; only arriving events
show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from dingbridge.doctor.checks.network import get, get_json
from dingbridge.doctor.checks.settings import Part
from dingbridge.doctor.findings import Both, Finding, found
from dingbridge.outgoing.hosts import NEW_API, STREAM
from dingbridge.outgoing.proxy import proxy_of

PATH: Final = "/stream"
_QUIET_S: Final = 180.0
"""Without a watchdog: how old the last frame may be. DingTalk documents no interval of its pings."""


@dataclass(frozen=True, slots=True)
class Seen:
    """``absent``: why the ingress does not answer; ``status``: of the app, as ``/stream`` has it, ``None``
    when the running ingress has no such app in Stream mode; ``unreachable``: hosts, and why."""

    absent: Both | None = None
    status: Mapping[str, Any] | None = None
    unreachable: Sequence[tuple[str, Both]] = ()


async def look(session: aiohttp.ClientSession, admin: str, app: str, *, new_api: str, live: bool) -> Seen:
    """Asks the private listener at ``admin``; and, where the API is DingTalk's own (``live``), ``new_api``.

    The host where connections go is asked as well where it is known: of DingTalk in China.
    """
    unreachable = []
    hosts = (new_api, STREAM) if new_api == NEW_API else (new_api,)
    for host in hosts if live else ():
        if isinstance(why := await get(session, f"{host}/", proxy_of(host)), Both):  # else the way is open
            unreachable.append((host, why))
    answer = await get_json(session, admin + PATH)
    if isinstance(answer, Both):
        return Seen(absent=answer, unreachable=unreachable)
    return Seen(status=answer[1].get("apps", {}).get(app), unreachable=unreachable)


def judge(seen: Seen, *, wanted: int, watchdog_s: float) -> list[Finding]:
    """``wanted`` is ``STREAM_CONNECTIONS``, ``watchdog_s`` ``STREAM_WATCHDOG_S``."""
    findings = [found("stream.unreachable", host=host, reason=why) for host, why in seen.unreachable]
    if seen.absent is not None:
        return [*findings, found("stream.unknown")]
    if seen.status is None:
        return [*findings, found("stream.restart")]
    connections, events, last_s = (seen.status[name] for name in ("connections", "events", "last_frame_s"))
    refused = str(seen.status["refused"] or "").rstrip(".")
    reason = refused or Both("they are being opened", "正在建立")
    if not connections:
        return [*findings, found("stream.closed", reason=reason)]
    if connections < wanted:
        findings.append(found("stream.few", connections=connections, wanted=wanted, reason=reason))
    if last_s is not None and last_s > (watchdog_s or _QUIET_S):
        findings.append(found("stream.silent", seconds=round(last_s)))
    if not events:
        findings.append(found("stream.no_events", connections=connections))
    if not findings:
        findings.append(found("stream.ok", connections=connections, events=events))
    return findings


def judge_tags(consumers: Sequence[Part], registered: str | None) -> list[Finding]:
    """``registered`` is the URL that is registered by API all the same."""
    tags = sorted({event_type for part in consumers for event_type in part.topics})
    findings = [found("tags.console", tags=tags)] if tags else []
    return findings + ([found("stream.registered", url=registered)] if registered else [])
