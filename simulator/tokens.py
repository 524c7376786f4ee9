"""Access tokens: issued, renewed by asking again, expired (obtain-orgapp-token)."""

import secrets
import time
from collections import deque
from collections.abc import Callable
from hmac import compare_digest

from simulator.errors import PlatformError

VALID_S = 7200


class AccessTokens:
    """The tokens of one app. Asking again within the validity gives the same token, renewed."""

    def __init__(
        self,
        app_key: str,
        app_secret: str,
        *,
        valid_s: int = VALID_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = (app_key, app_secret)
        self.valid_s = valid_s
        self._clock = clock
        self._current = ""
        self._until = 0.0
        self._expired: deque[str] = deque(maxlen=100)

    def issue(self, app_key: str | None, app_secret: str | None) -> str:
        """Raises ``PlatformError`` for a missing or wrong key or secret."""
        if not app_key:
            raise PlatformError(41002, "缺少appkey参数")
        if not app_secret:
            raise PlatformError(41004, "缺少appsecret参数")
        given = f"{app_key}\0{app_secret}".encode()
        if not compare_digest(given, "\0".join(self._app).encode()):
            raise PlatformError(40089, "不合法的appkey或appsecret")
        now = self._clock()
        if self._current and now >= self._until:
            self.expire()
        if not self._current:
            self._current = secrets.token_hex(16)
        self._until = now + self.valid_s
        return self._current

    def expire(self) -> None:
        """The current token is over from now on."""
        if self._current:
            self._expired.append(self._current)
        self._current = ""

    def check(self, token: str | None) -> None:
        """Raises ``PlatformError`` unless this is the token and it is still valid."""
        if not token:
            raise PlatformError(41001, "缺少access_token参数")
        if token == self._current and self._clock() < self._until:
            return
        if token == self._current or token in self._expired:
            raise PlatformError(42001, "access_token超时")
        raise PlatformError(40014, "不合法的access_token")
