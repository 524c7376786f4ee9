"""The HTTP proxy by which requests leave the company: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, as curl has them.

Every client that leaves passes ``proxy=proxy_of(url)`` to aiohttp. aiohttp's own ``trust_env`` is not used.
It reads no HTTPS_PROXY for ``wss``, and goes past a proxy that it does not support. It also sends what
``~/.netrc`` has for a host to that host.
"""

import os
from contextlib import suppress
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, Literal, NamedTuple

import aiohttp
from yarl import URL

from dingbridge.errors import SettingsError

VARIABLES: Final = {"https": "HTTPS_PROXY", "wss": "HTTPS_PROXY", "http": "HTTP_PROXY", "ws": "HTTP_PROXY"}
"""By the scheme of the address that is asked for; the names in small letters count first."""
TLS_PORT: Final = "plain HTTP request was sent to HTTPS port"
"""What nginx, and so much that stands in front of DingTalk, answers with 400 where TLS was expected."""

Kind = Literal["name", "unreachable", "credentials", "no_proxy", "refused"]


def proxy_of(url: str | URL) -> URL | None:
    """The proxy for ``url``, with the credentials of the variable; ``None`` for none.

    None is used for loopback, for a name without a dot, which is a service beside us, and for what NO_PROXY
    lists. Raises ``SettingsError`` for a variable that cannot be used, without its value.
    """
    url = URL(url)
    host = (url.host or "").lower().rstrip(".")
    if url.scheme not in VARIABLES or _is_beside_us(host) or _is_spared(host):
        return None
    return _read(VARIABLES[url.scheme])


def mistakes() -> list[str]:
    """Why the variables cannot be used, a line for each."""
    found: list[str] = []
    for name in dict.fromkeys(VARIABLES.values()):
        try:
            _read(name)
        except SettingsError as error:
            found += error.problems
    return found


def shown(proxy: URL) -> str:
    """The proxy's address without its credentials."""
    # Invariant 10: logs and errors get this alone
    return f"http://{proxy.host_subcomponent}:{proxy.port}"


class ProxyFailure(NamedTuple):
    """Why a request did not get past ``proxy``, whose address has no credentials here. ``status`` is of its
    own answer, 0 without one; ``host`` is what was asked for."""

    kind: Kind
    proxy: str
    status: int
    host: str

    def __str__(self) -> str:
        return WORDS[self.kind].format(**self._asdict())


WORDS: Final[dict[Kind, str]] = {
    "name": "the name of the proxy {proxy} cannot be resolved; correct HTTPS_PROXY",
    "unreachable": "the proxy {proxy} takes no connection; check HTTPS_PROXY, and that it runs",
    "credentials": "the proxy {proxy} wants other credentials (HTTP {status}); give user and password in "
    "HTTPS_PROXY, as http://user:password@host:port",
    "no_proxy": "{proxy} answers HTTP {status} to CONNECT, so it is no proxy, or its port speaks TLS; "
    "HTTPS_PROXY must name the proxy's port for plain HTTP",
    "refused": "the proxy {proxy} does not connect to {host} (HTTP {status}); let it allow and reach {host}",
}
"""What failed, and what to do."""


def failure(error: Exception, proxy: URL | None) -> ProxyFailure | None:
    """The proxy's part in an exception of aiohttp; ``None`` if it had none."""
    if proxy is None:
        return None
    if isinstance(error, aiohttp.ClientHttpProxyError):
        kinds: dict[int, Kind] = {407: "credentials", 400: "no_proxy", 404: "no_proxy", 405: "no_proxy"}
        kind = kinds.get(error.status, "refused")
        return ProxyFailure(kind, shown(proxy), error.status, error.request_info.url.host or "?")
    if isinstance(error, aiohttp.ClientConnectorDNSError) and error.host == proxy.raw_host:
        return ProxyFailure("name", shown(proxy), 0, "")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ProxyFailure("unreachable", shown(proxy), 0, "")
    return None


def own_answer(status: int, proxy: URL | None, host: str) -> ProxyFailure | None:
    """The same of an answer: without TLS a proxy that wants credentials answers in the host's place."""
    return ProxyFailure("credentials", shown(proxy), status, host) if proxy and status == 407 else None


def _read(name: str) -> URL | None:
    value = os.environ.get(name.lower()) or os.environ.get(name)
    if not value and (file := os.environ.get(f"{name}_FILE")):
        value = _content(name, file)
    if not value:
        return None
    try:
        proxy = URL(value if "://" in value else f"http://{value}")
        usable = proxy.scheme == "http" and bool(proxy.host) and bool(proxy.port)
        # Invariant 10: behind a / or # of a password yarl finds no host, and takes the user for it
        usable = usable and proxy.raw_path_qs == "/" and not proxy.raw_fragment
    except ValueError:  # Invariant 10: its text repeats the address
        usable = False
    if not usable:
        raise SettingsError(
            [
                f"{name}: must be http://host:port, or with credentials http://user:password@host:port, "
                "each sign of them that is neither letter nor digit as %40; proxies by https or SOCKS are "
                "not used"
            ]
        )
    return proxy.origin().with_user(proxy.user).with_password(proxy.password)


@cache
def _content(name: str, file: str) -> str:
    """What a file of secrets holds, read once, as those of the settings are."""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    raise SettingsError([f"{name}_FILE: {file} cannot be read ({reason})"])


def _is_beside_us(host: str) -> bool:
    if host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return "." not in host


def _is_spared(host: str) -> bool:
    """Whether NO_PROXY lists it: the name, one above it, its address or network, or everything by ``*``."""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for entry in listed.lower().replace(",", " ").split():
        name = entry.removeprefix("*").lstrip(".")
        if entry == "*" or host == name or host.endswith(f".{name}"):
            return True
        with suppress(ValueError):
            if ip_address(host) in ip_network(entry, strict=False):
                return True
    return False
