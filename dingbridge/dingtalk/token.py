"""The app's access token: kept, renewed before it expires, fetched by one caller at a time; and calls with
it, repeated with a new one where that may help.

Knows nothing of HTTP: how a token is fetched, and a call made, is given to it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from dingbridge.dingtalk.errors import ApiError, OutcomeUnknown, PermissionDenied, TokenInvalid
from dingbridge.dingtalk.permissions import to_tick

log = structlog.get_logger(__name__)

_RENEWAL_SHARE: Final = 1 / 12
"""The last part of a token's life in which it is renewed: 10 of its 120 minutes."""
_RENEWAL_RETRY_S: Final = 10.0
RIGHT_AGAIN_S: Final = 600.0
"""So long a right that a new token did not bring is not tried with another one, in s."""

T = TypeVar("T")


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
        self._value: str | None = None
        self._renew_at = 0.0
        self._expires_at = 0.0
        self._fetched = 0
        self._attempts: dict[str, _Attempt] = {}

    async def call(self, send: Callable[[str], Awaitable[T]]) -> T:
        """``send`` with the token; once more with a new one, if the token was refused, or a right that may
        have been granted since the token was fetched. Raises ``ApiError``."""
        token, fetched = await self.get(), self._fetched
        try:
            return await send(token)
        except TokenInvalid:
            self.discard(token)
        except OutcomeUnknown as error:
            if error.about == "token":  # it may have been carried out all the same, so it is not repeated
                self.discard(token)
            raise
        except PermissionDenied as refused:
            if refused.about != "right":
                raise
            return await self._with_right(refused, fetched, send)
        return await send(await self.get())

    async def _with_right(
        self, refused: PermissionDenied, fetched: int, send: Callable[[str], Awaitable[T]]
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
                    reply = await send(await self.get())
                except ApiError as error:
                    attempt.granted = error.about == "entity"
                    raise
                attempt.granted = True
                log.info("api.right_granted", api=refused.api, right=right)
                return reply
        if not attempt.granted or self._fetched == fetched:
            raise refused
        return await send(await self.get())

    async def _newer_than(self, fetched: int) -> bool:
        """Fetch another token than the ``fetched``-th, unless somebody has. False when none is to be had now:
        the old one then goes on, as it is good for other calls."""
        async with self._lock:
            if self._fetched == fetched:
                await self._renew()
            return self._fetched != fetched

    async def get(self) -> str:
        """A token that is valid now. Raises what ``fetch`` raises, unless the old one is still good."""
        if self._value is not None and self._clock() < self._renew_at:
            return self._value
        async with self._lock:
            if self._value is not None and self._clock() < self._renew_at:
                return self._value  # somebody renewed it while we waited
            return await self._renew()

    async def _renew(self) -> str:
        try:
            value, expires_in_s = await self._fetch()
        except ApiError as error:
            now = self._clock()
            if self._value is None or now >= self._expires_at:
                raise
            self._renew_at = min(now + _RENEWAL_RETRY_S, self._expires_at)
            log.warning("api.token_not_renewed", error=type(error).__name__, errcode=error.errcode)
            return self._value
        now = self._clock()
        self._value = value
        self._fetched += 1
        self._expires_at = now + expires_in_s
        self._renew_at = self._expires_at - expires_in_s * _RENEWAL_SHARE
        log.debug("api.token_renewed", expires_in_s=expires_in_s)
        return value

    def discard(self, value: str) -> None:
        """Forget ``value``, which was refused; does nothing when another has taken its place already."""
        if self._value == value:
            self._value = None
