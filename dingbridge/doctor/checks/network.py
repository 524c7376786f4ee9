"""What several checks share: a request and its answer, why a connection failed, and a push of our own."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import aiohttp
from yarl import URL

from dingbridge.dingtalk.crypto import Credentials
from dingbridge.dingtalk.self_push import judge, self_push
from dingbridge.doctor.findings import Both
from dingbridge.outgoing.proxy import TLS_PORT, Kind, ProxyFailure, failure, own_answer

TIMEOUT_S: Final = 10.0

Outcome = Literal["success", "redirect", "status", "answer", "unreachable"]


@dataclass(frozen=True, slots=True)
class Push:
    """The result of a push of our own: ``status`` is HTTP's, ``seconds`` until the whole answer was there,
    ``reason`` why there was none, ``nonce`` what the ingress that took it remembers it by."""

    outcome: Outcome
    status: int = 0
    seconds: float = 0.0
    reason: Both | None = None
    nonce: str = ""

    @property
    def ms(self) -> int:
        return max(1, round(self.seconds * 1000))


_OF_PROXIES: Final[Mapping[Kind, str]] = {
    "name": "代理 {proxy} 的域名无法解析，检查 HTTPS_PROXY",
    "unreachable": "代理 {proxy} 不接受连接，检查 HTTPS_PROXY 以及代理是否在运行",
    "credentials": "代理 {proxy} 不接受现有凭证（HTTP {status}），在 HTTPS_PROXY 里写上用户和密码："
    "http://user:password@host:port",
    "no_proxy": "{proxy} 对 CONNECT 应答 HTTP {status}：它不是代理，或者该端口是 TLS 端口；HTTPS_PROXY "
    "要写代理的明文 HTTP 端口",
    "refused": "代理 {proxy} 没有连到 {host}（HTTP {status}），请让代理放行 {host} 并能连到它",
}
_TLS_PORT: Final = Both(
    "a plain HTTP request came to its HTTPS port (HTTP 400): a proxy in between drops TLS, or the address "
    "begins with http://",
    "它的 HTTPS 端口收到了明文 HTTP 请求（HTTP 400）：中间的代理去掉了 TLS，或者地址以 http:// 开头",
)


def _by_proxy(failed: ProxyFailure) -> Both:
    return Both(str(failed), _OF_PROXIES[failed.kind].format(**failed._asdict()))


def reason_of(error: Exception, proxy: URL | None = None) -> Both:
    """Why a connection failed, by ``proxy`` if there is one, in words."""
    if by_proxy := failure(error, proxy):
        return _by_proxy(by_proxy)
    cause = getattr(error, "os_error", error)
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(cause, socket.gaierror):
        return Both("its name cannot be resolved", "域名无法解析")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Both("the TLS connection failed", "TLS 连接失败")
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return Both(f"no answer within {TIMEOUT_S:g} s", f"{TIMEOUT_S:g} 秒内没有应答")
    if isinstance(cause, ConnectionRefusedError):
        return Both("the connection is refused", "连接被拒绝")
    if isinstance(cause, OSError) and cause.strerror:
        return Both(cause.strerror, cause.strerror)
    return Both(f"the connection broke ({type(error).__name__})", f"连接中断（{type(error).__name__}）")


async def push(
    session: aiohttp.ClientSession,
    url: str,
    credentials: Credentials,
    tls: ssl.SSLContext | None = None,
    proxy: URL | None = None,
) -> Push:
    """Send a ``check_url`` of our own making to ``url``, as DingTalk does, on a connection of its own: behind
    a load balancer each push may reach another ingress. The ingress keeps none."""
    ours = self_push(credentials)
    began = time.monotonic()
    try:
        async with session.post(
            url,
            proxy=proxy,
            params=ours.query,
            data=ours.body,
            headers={"Content-Type": "application/json", "Connection": "close"},
            allow_redirects=False,
            ssl=tls or True,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        ) as response:
            status, content = response.status, await response.content.read(1 << 16)
    except (aiohttp.ClientError, OSError) as error:
        return Push("unreachable", reason=reason_of(error, proxy))
    seconds = time.monotonic() - began
    if 300 <= status < 400:
        return Push("redirect", status, seconds)
    verdict = judge(ours, credentials, status, content)
    if verdict == "http":
        return Push("status", status, seconds)
    return Push("success" if verdict == "success" else "answer", status, seconds, nonce=ours.nonce)


class Answer(NamedTuple):
    """An HTTP answer: its status, its ``Date`` header ("" without one), its body as text."""

    status: int
    date: str
    text: str


async def get(session: aiohttp.ClientSession, url: str, proxy: URL | None = None) -> Answer | Both:
    """The answer of ``url``, whatever its status is; or why there is none, also where a proxy answers in its
    place. Follows no redirect."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with session.get(url, proxy=proxy, allow_redirects=False, timeout=timeout) as response:
            text = await response.text(errors="replace")
            if refused := own_answer(response.status, proxy, response.url.host or ""):
                return _by_proxy(refused)
            if response.status == 400 and TLS_PORT in text:
                return _TLS_PORT
            return Answer(response.status, response.headers.get("Date", ""), text)
    except (aiohttp.ClientError, OSError) as error:
        return reason_of(error, proxy)


async def get_json(session: aiohttp.ClientSession, url: str) -> tuple[int, Mapping[str, Any]] | Both:
    """Status and object of an answer of a private listener; or why there is none."""
    answer = await get(session, url)
    if isinstance(answer, Both):
        return answer
    try:
        found = json.loads(answer.text)
    except ValueError:
        return Both("what answers there is no ingress", "应答的不是 ingress")
    return answer.status, found if isinstance(found, dict) else {}
