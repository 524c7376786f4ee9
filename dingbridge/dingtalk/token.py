"""The app's access token: kept, renewed before it expires, fetched by one caller at a time; and calls with
it, repeated with a new one where that may help.

DingTalk may end a token at any time, and several callers share one. The first that is refused fetches the
next token for all of them, and each repeats its call. The others may use up that token before a repeat is
sent. So a call that was refused twice is sent while no other call begins.

Knows nothing of HTTP: how a token is fetched, and a call made, is given to it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from dingbridge.dingtalk.errors import ApiError, PermissionDenied, TokenInvalid
from dingbridge.dingtalk.permissions import to_tick

log = structlog.get_logger(__name__)

_RENEWAL_SHARE: Final = 1 / 12
"""The last part of a token's life in which it is renewed: 10 of its 120 minutes."""
_RENEWAL_RETRY_S: Final = 10.0
USELESS_TOKENS: Final = 3
"""After so many tokens in a row that were refused at their first use, the app itself counts as refused. Calls
are then not repeated, until one is accepted: DingTalk limits how often a token may be fetched."""
RIGHT_AGAIN_S: Final = 600.0
"""So long a right that a new token did not bring is not tried with another one, in s."""

T = TypeVar("T")


@dataclass(eq=False)
class _Token:
    """The ``number``-th token, from 1: DingTalk may give out the same ``text`` again. ``accepted``: DingTalk
    has accepted it from some call."""

    text: str
    number: int
    accepted: bool = False


@dataclass
class _Attempt:
    """One attempt, since ``at``, to get a right with a new token. ``granted``: the new token has it."""

    at: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    granted: bool = False


class AccessToken:
    """``get`` is the token to use now, ``call`` makes a call with it. Times are seconds of ``clock``,
    which only needs to be monotonic."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[tuple[str, float]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``fetch`` returns ``(token, seconds it is valid)`` or raises ``ApiError``."""
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        """Held while a token is fetched, and while a call that was refused twice is sent."""
        self._token: _Token | None = None
        self._renew_at = 0.0
        self._expires_at = 0.0
        self._fetched = 0
        self._useless = 0
        """Tokens in a row that were refused at their first use."""
        self._attempts: dict[str, _Attempt] = {}

    async def call(self, send: Callable[[str], Awaitable[T]]) -> T:
        """``send`` with the token; again with a new one, as long as tokens are refused that were accepted
        before; once more, if a right was refused that may have been granted since the token was fetched.
        Raises ``ApiError``."""
        used = 0

        async def with_token(token: _Token) -> T:
            nonlocal used
            used = token.number
            return await send(token.text)

        try:
            return await self._repeated(with_token)
        except PermissionDenied as refused:
            if refused.about != "right":
                raise
            return await self._with_right(refused, used, with_token)

    async def _repeated(self, send: Callable[[_Token], Awaitable[T]]) -> T:
        """``send`` until a token is accepted. Raises ``TokenInvalid`` once the app counts as refused."""
        for _ in range(2):
            token = await self._current()
            try:
                return await self._once(token, send)
            except TokenInvalid as error:
                refused = error
                if self._useless >= USELESS_TOKENS:
                    raise
        async with self._lock:
            while self._useless < USELESS_TOKENS:
                token = self._good() or await self._renew()
                try:
                    return await self._once(token, send)
                except TokenInvalid as error:
                    refused = error
            raise refused

    async def _once(self, token: _Token, send: Callable[[_Token], Awaitable[T]]) -> T:
        """``send`` with ``token``, which is forgotten if it is refused."""
        try:
            reply = await send(token)
        except ApiError as error:
            if error.about == "token":  # also an OutcomeUnknown, which is never repeated
                self._forget(token)
            elif error.about in ("entity", "right"):
                self._accepted(token)
            raise
        self._accepted(token)
        return reply

    def _accepted(self, token: _Token) -> None:
        token.accepted, self._useless = True, 0

    def _forget(self, token: _Token) -> None:
        """Forget ``token``, which was refused; does nothing when another has taken its place already."""
        if self._token is token:
            self._token = None
            self._useless += not token.accepted

    async def _with_right(
        self, refused: PermissionDenied, fetched: int, send: Callable[[_Token], Awaitable[T]]
    ) -> T:
        """``send`` once more, if a token after the ``fetched``-th may have the right that was ``refused``.

        A right that is granted may come with a new token only (github cryozerolabs/n8n-nodes-dingtalk,
        53171d1; others saw none of it). So one call for each right tries it, not more often than every
        ``RIGHT_AGAIN_S``, since a refused call may count; those refused beside it await its outcome. The
        documents say that the new token may have the old one's text, so the text decides nothing.
        """
        right = refused.permission or refused.api
        attempt = self._attempts.get(right)
        first = attempt is None or self._clock() - attempt.at >= RIGHT_AGAIN_S
        if attempt is None or first:
            attempt = self._attempts[right] = _Attempt(self._clock())
        async with attempt.lock:
            if first:
                log.warning("api.right_refused", api=refused.api, remedy=to_tick(refused.permission))
                if not await self._newer_than(fetched):
                    raise refused
                try:
                    reply = await self._repeated(send)
                except ApiError as error:
                    attempt.granted = error.about == "entity"
                    raise
                attempt.granted = True
                log.info("api.right_granted", api=refused.api, right=right)
                return reply
        if not attempt.granted or self._fetched == fetched:
            raise refused
        return await self._repeated(send)

    async def _newer_than(self, fetched: int) -> bool:
        """Fetch another token than the ``fetched``-th, unless somebody has. False when none is to be had now:
        the old one then goes on, as it is good for other calls."""
        async with self._lock:
            if self._fetched == fetched:
                await self._renew()
            return self._fetched != fetched

    async def get(self) -> str:
        """A token that is valid now. Raises what ``fetch`` raises, unless the old one is still good."""
        return (await self._current()).text

    async def _current(self) -> _Token:
        if (token := self._good()) is not None and not self._lock.locked():
            return token
        async with self._lock:
            return self._good() or await self._renew()  # somebody may have renewed it while we waited

    def _good(self) -> _Token | None:
        """The token, unless it is to be renewed."""
        return self._token if self._clock() < self._renew_at else None

    async def _renew(self) -> _Token:
        try:
            text, expires_in_s = await self._fetch()
        except ApiError as error:
            now = self._clock()
            if self._token is None or now >= self._expires_at:
                raise
            self._renew_at = min(now + _RENEWAL_RETRY_S, self._expires_at)
            log.warning("api.token_not_renewed", error=type(error).__name__, errcode=error.errcode)
            return self._token
        now = self._clock()
        self._fetched += 1
        self._token = _Token(text, self._fetched)
        self._expires_at = now + expires_in_s
        self._renew_at = self._expires_at - expires_in_s * _RENEWAL_SHARE
        log.debug("api.token_renewed", expires_in_s=expires_in_s)
        return self._token
