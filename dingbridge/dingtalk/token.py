"""The app's access token: kept, renewed before it expires, fetched by one caller at a time; and calls with
it, repeated with a new one where that may help.

Knows nothing of HTTP: how a token is fetched, and a call made, is given to it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from dingbridge.dingtalk.errors import ApiError, OutcomeUnknown, PermissionDenied, TokenInvalid
from dingbridge.dingtalk.permissions import to_tick

log = structlog.get_logger(__name__)

_RENEWAL_SHARE: Final = 1 / 12
"""The last part of a token's life in which it is renewed: 10 of its 120 minutes."""
_RENEWAL_RETRY_S: Final = 10.0
RIGHT_AGAIN_S: Final = 600.0
"""How old a token is, in s, before another one is fetched for a right that is refused."""

T = TypeVar("T")


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
        self._fetched_at = 0.0

    async def call(self, send: Callable[[str], Awaitable[T]]) -> T:
        """``send`` with the token; once more with a new one, if the token was refused, or a right that may
        have been granted since the token was fetched. Raises ``ApiError``.

        A right that is granted may come with a new token only (github cryozerolabs/n8n-nodes-dingtalk,
        53171d1; others saw none of it), which may have the old one's text. Refused calls may count, so
        nothing is sent again for a right while the token is younger than ``RIGHT_AGAIN_S``.
        """
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
            if fetched == self._fetched:
                if self._clock() - self._fetched_at < RIGHT_AGAIN_S:
                    raise
                log.warning("api.right_refused", api=refused.api, remedy=to_tick(refused.permission))
                self._renew_at = self._clock()  # by ``get``, which goes on with the old one if it must
        return await send(await self.get())

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
        now = self._fetched_at = self._clock()
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
