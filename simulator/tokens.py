"""Access tokens: issued, renewed by asking again, expired (obtain-orgapp-token)."""

import secrets
import time
from collections.abc import Callable
from hmac import compare_digest
from typing import Final

from dingbridge.simulator.errors import PlatformError
from dingbridge.simulator.profile import Profile

VALID_S = 7200
_KEPT: Final = 100


class AccessTokens:
    """The tokens of one app. Asking again within the validity gives the same token, renewed, unless
    ``profile`` has it otherwise: then all of them are valid, each for its time."""

    def __init__(
        self,
        app_key: str,
        app_secret: str,
        *,
        valid_s: int = VALID_S,
        clock: Callable[[], float] = time.monotonic,
        profile: Profile | None = None,
    ) -> None:
        self._app = (app_key, app_secret)
        self.valid_s = valid_s
        self._clock = clock
        self._profile = profile or Profile()
        self.issued = 0
        self._latest = ""
        self._tokens: dict[str, tuple[int, float]] = {}
        """Each with its number, from 1, and until when it is valid; the oldest first."""

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
        number, until = self._tokens.get(self._latest, (0, now))
        if not self._profile.same_token or now >= until:
            self.issued += 1
            number, self._latest = self.issued, secrets.token_hex(16)
        self._tokens[self._latest] = (number, now + self.valid_s)
        if len(self._tokens) > _KEPT:
            del self._tokens[next(iter(self._tokens))]
        return self._latest

    def number(self, token: str | None) -> int:
        """How many tokens had been issued when this one was, it included."""
        return self._tokens.get(token or "", (0, 0.0))[0]

    def expire(self) -> None:
        """Every token is over from now on."""
        now = self._clock()
        self._tokens = {token: (number, min(until, now)) for token, (number, until) in self._tokens.items()}

    def check(self, token: str | None) -> None:
        """Raises ``PlatformError`` unless this is a token of the app's and still valid."""
        if not token:
            raise PlatformError(41001, "缺少access_token参数")
        if token not in self._tokens:
            raise PlatformError(40014, "不合法的access_token")
        if self._clock() >= self._tokens[token][1]:
            raise PlatformError(42001, "access_token超时")
