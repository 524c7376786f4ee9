"""A login elsewhere: to a provider and back (RFC 6749, 4.1), whichever provider that is.

What is under way is kept in a cookie of ten minutes: a ``state``, which the provider sends back, and where
the browser wanted to go. Nonce and code verifier are made of the state by a key of this process, so nothing
is kept here that a stranger could fill, and after a restart a login begins again.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import orjson

from dingbridge.console.access.users import User
from dingbridge.errors import BridgeError
from dingbridge.outgoing.proxy import failure, proxy_of

BEGUN_FOR_S: Final = 600
"""How long a login may take at the provider."""
_WITHIN_S: Final = 10.0
_MOST: Final = 1 << 20
"""Bytes of a provider's answer."""
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class ProviderError(BridgeError):
    """The provider does not answer, or not as it should. The text is for the log, and holds no secret."""


class LoginRefused(Exception):
    """The provider vouches for somebody who may not come in; or what it sent back proves nothing.

    ``key`` is of ``words/login.toml``, ``values`` are its values; among them ``who``, where that is proved.
    """

    def __init__(self, key: str, **values: str) -> None:
        super().__init__(key)
        self.key, self.values = key, values


class Provider(Protocol):
    """One way to log in elsewhere."""

    name: str
    """In addresses and the audit."""
    title: str
    """On the login page."""
    lifetime_s: float
    """How long its sessions last."""
    in_file: bool
    """Whether its users, and what they may, are in the users file."""

    async def address(self, begun: "Begun", back: str) -> str:
        """Where the browser goes; ``back`` is where it returns to. Raises ``ProviderError``."""
        ...

    async def user(self, query: Mapping[str, str], begun: "Begun", back: str) -> User:
        """Who has come back with ``query``. Raises ``ProviderError`` and ``LoginRefused``."""
        ...


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that is under way."""

    state: str
    nonce: str
    verifier: str
    """What proves that the code was asked for by us (RFC 7636)."""

    @property
    def challenge(self) -> str:
        return _base64(hashlib.sha256(self.verifier.encode()).digest())


class Beginnings:
    """Makes states, and knows its own again."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def new(self) -> Begun:
        return self.of(secrets.token_urlsafe(32))

    def of(self, state: str) -> Begun:
        return Begun(state, self._made("nonce", state), self._made("verifier", state))

    def returned(self, query: Mapping[str, str], cookie: str) -> Begun:
        """The login that this browser began. Raises ``LoginRefused`` where another did, or none."""
        state = query.get("state", "")
        ours = hmac.compare_digest(state.encode(errors="replace"), cookie.encode(errors="replace"))
        if not ours or not _STATE.fullmatch(state):
            raise LoginRefused("login.not_begun")
        return self.of(state)

    def _made(self, what: str, state: str) -> str:
        return _base64(hmac.digest(self._key, f"{what} {state}".encode(), "sha256"))


async def ask(method: str, url: str, **request: Any) -> tuple[int, dict[str, Any]]:
    """``(status, JSON object)`` of an answer; no redirect is followed. Raises ``ProviderError``."""
    place = url.partition("?")[0]
    timeout = aiohttp.ClientTimeout(total=_WITHIN_S)
    proxy = None
    try:
        proxy = proxy_of(url)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, proxy=proxy, allow_redirects=False, **request) as answer,
        ):
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > _MOST:
                    raise ProviderError(f"{place} answers more than {_MOST} bytes")
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        why = failure(error, proxy) or type(error).__name__
        raise ProviderError(f"{place} does not answer ({why})") from None
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise ProviderError(f"{place} answers {status}, and no JSON object")
    return status, values


def word(value: object) -> str:
    """An error's code as it may be shown and logged; ``?`` for anything else."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", value) else "?"


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
