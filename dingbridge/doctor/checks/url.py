"""The public URL, as DingTalk meets it: name, address, certificate, no redirect, and who answers."""

import asyncio
import re
import socket
import ssl
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

import aiohttp

from dingbridge.dingtalk.crypto import Credentials
from dingbridge.doctor.checks.network import TIMEOUT_S, Push, get_json, push, reason_of
from dingbridge.doctor.findings import Both, Finding, found
from dingbridge.outgoing.proxy import proxy_of

DEADLINE_S: Final = 1.5
"""DingTalk's (http-callback-overview)."""
TRIES: Final = 8
"""Pushes before another ingress is reported as answering: behind a load balancer they reach several."""
_SOON_DAYS: Final = 14
_EXPIRED, _OTHER_NAME = 10, (62, 64)  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED, …_HOSTNAME_MISMATCH, …_IP_…

Tls = Literal["ok", "name", "expired", "untrusted", "failed"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found on the way to the URL; what comes after the first hindrance stays unset. ``here``: our
    ingress took the push; ``None`` when it could not be asked."""

    url: str
    addresses: tuple[str, ...] = ()
    unreachable: Both | None = None
    tls: Tls | None = None
    tls_reason: str = ""
    days_left: int | None = None
    push: Push | None = None
    here: bool | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def https(self) -> bool:
        return urlsplit(self.url).scheme == "https"


def usable(url: str) -> bool:
    """Whether it is an http(s) URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def shown(url: str) -> str:
    """The URL without its query and user, which may hold secrets of a proxy's; of what is no URL, as one
    without a scheme, what is surely neither."""
    if not usable(url):
        rest = re.split(r"[?#]", url, maxsplit=1)
        if "@" in "".join(rest[1:]):
            return "…"  # what stands before it may be the beginning of a password
        return rest[0].rpartition("@")[2]
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


async def look(session: aiohttp.ClientSession, url: str, credentials: Credentials, admin: str) -> Seen:
    """Resolve, connect, push, and ask the private listener at ``admin`` (``http://host:port``) whether the
    push came there; stops at the first hindrance. Through a proxy the certificate is not looked at, since it
    may be the proxy's. ``url`` must be ``usable``."""
    parts, proxy = urlsplit(url), proxy_of(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        if proxy is None:
            return Seen(url)
        answers = []  # the proxy may know the name
    addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in answers))
    tls, tls_reason, days = None, "", None
    context = ssl.create_default_context()
    if parts.scheme == "https" and proxy is None:
        try:
            tls, tls_reason, days = await _handshake(host, port, context)
        except OSError as error:
            return Seen(url, addresses, unreachable=reason_of(error))
        if tls != "ok":
            return Seen(url, addresses, tls=tls, tls_reason=tls_reason)
    for _ in range(TRIES):
        pushed, here = await push(session, url, credentials, context, proxy), None
        if pushed.outcome == "success":
            here = await _took(session, admin, pushed.nonce)
        if here is not False:
            break
    return Seen(url, addresses, tls=tls, days_left=days, push=pushed, here=here)


async def _took(session: aiohttp.ClientSession, admin: str, nonce: str) -> bool | None:
    answer = await get_json(session, f"{admin}/checks/{nonce}")
    seen = None if isinstance(answer, Both) else answer[1].get("seen")
    return seen if isinstance(seen, bool) else None


async def _handshake(host: str, port: int, context: ssl.SSLContext) -> tuple[Tls, str, int | None]:
    """What TLS says, why, and in how many days the certificate ends. Raises ``OSError``."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _OTHER_NAME:
            return "name", error.verify_message, None
        return ("expired" if error.verify_code == _EXPIRED else "untrusted"), error.verify_message, None
    except ssl.SSLError as error:
        return "failed", error.reason or type(error).__name__, None
    except ConnectionResetError:
        return "failed", "the connection is closed in the handshake", None
    certificate = writer.get_extra_info("peercert") or {}
    writer.close()
    ends = ssl.cert_time_to_seconds(str(certificate["notAfter"])) if "notAfter" in certificate else None
    return "ok", "", None if ends is None else int((ends - time.time()) // 86_400)


def judge(seen: Seen, *, from_internet: bool) -> list[Finding]:
    """``from_internet``: it is DingTalk itself that must reach it, not a simulator beside us."""
    url, host = shown(seen.url), seen.host
    findings = [] if seen.https else [found("url.http", url=url)]
    if not seen.addresses and seen.push is None:
        return [*findings, found("url.dns", host=host)]
    if (
        from_internet
        and seen.addresses
        and not any(ip_address(a.partition("%")[0]).is_global for a in seen.addresses)
    ):
        findings.append(found("url.private", host=host, addresses=seen.addresses))
    if seen.unreachable is not None:
        return [*findings, found("url.unreachable", url=url, reason=seen.unreachable)]
    if seen.tls not in (None, "ok"):
        return [*findings, found(f"url.tls_{seen.tls}", host=host, reason=seen.tls_reason)]
    if seen.days_left is not None and seen.days_left < _SOON_DAYS:
        findings.append(found("url.tls_soon", host=host, days=seen.days_left))
    if seen.push is not None:
        tls = Both("", "")
        if seen.days_left is not None:
            tls = Both(
                f" Its certificate is good for {seen.days_left} days.", f"证书还有 {seen.days_left} 天。"
            )
        elsewhere = seen.here is False
        findings.append(
            found("url.elsewhere", url=url) if elsewhere else of_push("url", url, seen.push, tls=tls)
        )
    return findings


def of_push(prefix: str, url: str, seen: Push, **values: object) -> Finding:
    """What a push of ours shows of the URL (``url``) or of the ingress itself (``ingress``)."""
    match seen.outcome:
        case "unreachable":
            return found(f"{prefix}.unreachable", url=url, reason=seen.reason)
        case "redirect" if prefix == "url":
            return found("url.redirect", url=url, status=seen.status)
        case "redirect" | "status":
            if seen.status == 403:
                return found(f"{prefix}.refused", url=url)
            return found(f"{prefix}.status", url=url, status=seen.status)
        case "answer":
            return found(f"{prefix}.answer", url=url)
        case "success" if seen.seconds > DEADLINE_S:
            return found(f"{prefix}.slow", url=url, ms=seen.ms)
        case "success":
            return found(f"{prefix}.ok", url=url, ms=seen.ms, **values)
