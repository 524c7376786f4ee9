"""Does the public URL lead to this ingress? A push of our own goes there, and the private listener is asked.

The push is ``dingbridge/dingtalk/self_push.py``'s; an answer that DingTalk would take shows that an ingress
with our credentials stands there, and the nonce, known at ADMIN_HOST:ADMIN_PORT, that it is this one. No text
here holds a query or a secret, and no exception of the HTTP library leaves this module.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from dingbridge.dingtalk.self_push import judge, self_push

if TYPE_CHECKING:
    from dingbridge.dingtalk.crypto import Credentials

DEADLINE_S: Final = 1.5
"""DingTalk's (http-callback-overview)."""
_TIMEOUT_S: Final = 5.0
TRIES: Final = 8
"""Pushes before it is said that another ingress answers: behind a load balancer they reach several."""
_ANSWER_BYTES: Final = 64 * 1024

Reached = Literal["here", "elsewhere", "unasked", "not"]
"""``here``: this ingress; ``elsewhere``: another one with the same credentials; ``unasked``: one
with the same credentials, and no private listener told which; ``not``: none that DingTalk would get its
answer from."""

_DIFFER = (
    "the ingress there refuses it (403): DINGTALK_TOKEN, DINGTALK_AES_KEY and DINGTALK_OWNER_KEY must be the "
    "same there as here, and its clock right; its log says which (`callback.refused`). One that was started "
    "before these were set must be started again"
)
_STATUS: Final = {
    400: "query or body do not come through whole (400); a proxy in front of the ingress changes them",
    403: _DIFFER,
    404: "nothing there has this path (404): the URL ends in CALLBACK_PATH, or in CALLBACK_PATH/<app>",
    405: "what stands there takes no POST (405); a proxy must pass it on as it is",
    502: "a proxy answers, but no ingress behind it (502): start the ingress, or correct the proxy's target",
    503: "the ingress, or a proxy before it, can take nothing just now (503); its log says why",
    504: "a proxy answers, but no ingress behind it in time (504)",
}
_VERDICTS: Final = {
    "not_json": "something that is no ingress answers there (no JSON)",
    "fields": "something that is no ingress answers there (without msg_signature, timeStamp, nonce, encrypt)",
    "signature": "what answers there signs with another DINGTALK_TOKEN",
    "cipher": "what answers there encrypts with another DINGTALK_AES_KEY",
    "owner": "what answers there encrypts for another owner key than it was asked with",
    "text": "what answers there does not say `success`",
}


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What a check found: ``words`` for the operator, how long the answer took in ms where one came."""

    reached: Reached
    words: str
    took_ms: float | None = None

    @property
    def answers(self) -> bool:
        """Whether DingTalk's own check would be answered."""
        return self.reached != "not"


async def round_trip(url: str, credentials: "Credentials", *, admin: str) -> RoundTrip:
    """Push to ``url``, and ask the private listener at ``admin`` (``host:port``) whether it came there.

    Raises nothing: whatever fails is in the result.
    """
    # a new connection each time, so that a load balancer may choose anew
    connector = aiohttp.TCPConnector(force_close=True)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        for _ in range(TRIES):
            fault, nonce, took_s = await _push(http, url, credentials)
            if fault is not None:
                return RoundTrip("not", fault)
            took_ms = round(took_s * 1000, 1)
            seen = await _seen(http, admin, nonce)
            if seen is None:
                words = (
                    f"an ingress with the same credentials answers; whether it is the one of {admin} could "
                    "not be asked (ADMIN_HOST, ADMIN_PORT name its private listener)"
                )
                return RoundTrip("unasked", words, took_ms)
            if seen:
                return RoundTrip("here", "the ingress answers as DingTalk wants it", took_ms)
    words = (
        f"an ingress with the same credentials answers, but not the one of {admin}: {TRIES} pushes reached "
        "another"
    )
    return RoundTrip("elsewhere", words, took_ms)


async def wait_for(
    url: str,
    credentials: "Credentials",
    *,
    admin: str,
    seconds: float,
    say: Callable[[str], None] = lambda words: None,
) -> RoundTrip:
    """The same, tried again each second for ``seconds`` until the URL answers as it should; ``say`` hears
    once what it waits for."""
    deadline = time.monotonic() + seconds
    waiting = False
    while True:
        found = await round_trip(url, credentials, admin=admin)
        if found.reached in ("here", "unasked") or time.monotonic() >= deadline:
            return found
        if not waiting:
            waiting = True
            say(f"waiting up to {seconds:g} s for {url}: {found.words}")
        await asyncio.sleep(1)


async def _push(
    http: "aiohttp.ClientSession", url: str, credentials: "Credentials"
) -> tuple[str | None, str, float]:
    """What is wrong, the nonce, the seconds it took."""
    push = self_push(credentials)
    began = time.monotonic()
    try:
        async with http.post(
            URL(url).update_query(push.query),
            data=push.body,
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        ) as answer:
            status, location = answer.status, answer.headers.get("Location", "")
            body = await answer.content.read(_ANSWER_BYTES)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _no_answer(error), push.nonce, 0.0
    took_s = time.monotonic() - began
    if 300 <= status < 400:
        return _redirect(status, url, location), push.nonce, took_s
    verdict = judge(push, credentials, status, body)
    if verdict == "http":
        words = _STATUS.get(status, f"what stands there answers with status {status}, and only 200 counts")
        return words, push.nonce, took_s
    if verdict != "success":
        words = _VERDICTS[verdict]
        return f"{words}; DingTalk would say errcode 71009", push.nonce, took_s
    if took_s > DEADLINE_S:
        words = f"the answer is right but took {took_s:.1f} s; DingTalk waits for {DEADLINE_S} s"
        return words, push.nonce, took_s
    return None, push.nonce, took_s


def _redirect(status: int, url: str, location: str) -> str:
    """Where it leads, without query or user name: those may be somebody's secrets."""
    try:
        leads_to = URL(url).join(URL(location)).with_user(None).with_query(None).with_fragment(None)
        to = f" to {leads_to}"
    except ValueError:
        to = ""
    return (
        f"it redirects{to} ({status}), and DingTalk follows no redirect (errcode 71012): register the "
        "address it leads to, or let the proxy pass POST on there"
    )


def _no_answer(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_S:g} s: a firewall may stand before it, or the address is wrong"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name cannot be resolved from here"
    if isinstance(error, aiohttp.ClientSSLError):
        return (
            "TLS fails: the certificate does not fit the name, has run out, or lacks its chain; DingTalk "
            "would not take it either"
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or type(error.os_error).__name__
        return f"no connection ({reason}): start the ingress, and what is in front of it"
    return f"the connection broke ({type(error).__name__}): something that is no HTTP server may listen there"


async def _seen(http: "aiohttp.ClientSession", admin: str, nonce: str) -> bool | None:
    """Whether the ingress at ``admin`` saw it; ``None`` when it does not tell."""
    try:
        async with http.get(f"http://{admin}/checks/{nonce}") as answer:
            found = await answer.json()
    except (aiohttp.ClientError, OSError, ValueError):
        return None
    return found.get("seen") if isinstance(found, dict) and isinstance(found.get("seen"), bool) else None


@dataclass(frozen=True, slots=True)
class Owners:
    """Which owner keys DingTalk's own pushes to an app used since the ingress started: how often each was
    ``refused``, and how many pushes were ``accepted``."""

    refused: dict[str, int]
    accepted: int


async def owners(admin: str, app: str) -> Owners | None:
    """What the ingress at ``admin`` (``host:port``) met; ``None`` when it does not tell."""
    try:
        met = [entry for entry in (await told(admin, "/owners"))["owners"] if entry["app"] == app]
        refused = {str(entry["owner"]): int(entry["refused"]) for entry in met if entry["refused"]}
        return Owners(refused, sum(int(entry["accepted"]) for entry in met))
    except (ValueError, KeyError, TypeError):
        return None


async def told(admin: str, path: str) -> Any:
    """The JSON that the ingress at ``admin`` (``host:port``) tells at ``path``; ``None`` when there is
    none."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"http://{admin}{path}") as answer,
        ):
            return await answer.json()
    except (aiohttp.ClientError, OSError, ValueError):
        return None


def warnings(url: str) -> list[str]:
    """What is worth saying about the URL before anything is sent."""
    if urlsplit(url).scheme == "http":
        return [
            "the URL is plain http: whoever is on the way sees when callbacks come, and can hold them back "
            "or send them again; their content is encrypted. Use https"
        ]
    return []
