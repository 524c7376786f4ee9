"""To a provider and back: ``/login/<provider>`` and ``/login/<provider>/callback``, both without a login."""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar
from urllib.parse import quote, unquote

import structlog
from aiohttp import web

from dingbridge.console.access.guesses import group_of
from dingbridge.console.access.middleware import ADDRESS, USER
from dingbridge.console.access.provider import BEGUN_FOR_S, Beginnings, LoginRefused, Provider, ProviderError
from dingbridge.console.access.users import User
from dingbridge.console.app import Console
from dingbridge.console.login import login_page, login_url, safe_path
from dingbridge.logging import LogLimiter

_Answer = TypeVar("_Answer")
log = structlog.get_logger(__name__)

COOKIE: Final = "console-login"
_AT_ONCE: Final = 16
_OF_ONE_ADDRESS: Final = 4
"""Requests to providers under way, of all and of one address: who is not logged in yet makes them."""
_LONGEST: Final = 2000
"""Characters of the path to return to, as it stands in the cookie; browsers keep 4 KB."""
_OF_A_PATH: Final = "/?&=#%:;,+@!$'()*~"


def routes(console: Console) -> list[web.RouteDef]:
    """Two for each provider that is set."""
    elsewhere = LoginElsewhere(console)
    return [
        route
        for provider in console.providers
        for path in (f"/login/{provider.name}",)
        for route in (
            web.get(path, partial(elsewhere.leave, provider), allow_head=False),
            web.get(f"{path}/callback", partial(elsewhere.come_back, provider), allow_head=False),
        )
    ]


class _Busy(Exception):
    """As many requests to providers are under way as may be."""


class LoginElsewhere:
    """Logins by providers."""

    def __init__(self, console: Console) -> None:
        self._console, self._access = console, console.access
        self._beginnings = Beginnings()
        self._under_way = Counter[str]()
        self._limiter = LogLimiter(burst=20, period_s=60)

    async def leave(self, provider: Provider, request: web.Request) -> web.StreamResponse:
        """To the provider's page."""
        to = safe_path(request.query.get("to", ""))
        if USER in request:
            raise web.HTTPSeeOther(to)
        begun = self._beginnings.new()
        try:
            where = await self._ask(request, lambda: provider.address(begun, self._back(provider)))
        except (ProviderError, _Busy) as error:
            return await self._failed(provider, request, error)
        response = web.Response(status=303, headers={"Location": where})
        # Lax: it must come along when the provider's page leads back to us
        response.set_cookie(
            self._cookie(request),
            f"{begun.state}.{kept if len(kept := quote(to)) <= _LONGEST else '/'}",
            max_age=BEGUN_FOR_S,
            httponly=True,
            samesite="Lax",
            path="/",
            secure=self._is_secure(request),
        )
        return response

    async def come_back(self, provider: Provider, request: web.Request) -> web.StreamResponse:
        """From it. The answer is a page that leads on by itself: a redirect would still be the provider's
        doing, and browsers send no ``SameSite=Strict`` cookie then (RFC 6265bis, 5.2)."""
        state, _, begun_at = request.cookies.get(self._cookie(request), "").partition(".")
        to = safe_path(unquote(begun_at))
        try:
            begun = self._beginnings.returned(request.query, state)
            user = await self._ask(request, lambda: provider.user(request.query, begun, self._back(provider)))
        except LoginRefused as error:
            await self._refused(request, error)
            response = await login_page(self._console, request, error.key, error.values, status=403, to=to)
        except (ProviderError, _Busy) as error:
            response = await self._failed(provider, request, error)
        else:
            response = await self._welcome(provider, request, user, to)
        response.del_cookie(self._cookie(request), path="/", secure=self._is_secure(request))
        return response

    async def _welcome(self, provider: Provider, request: web.Request, user: User, to: str) -> web.Response:
        response = await self._console.page(
            request, "login_done.html", who=user.name, to=to, here=partial(login_url, to)
        )
        response.headers["Refresh"] = f"0;url={quote(to, safe=_OF_A_PATH)}"
        await self._access.log_in(
            request,
            response,
            user,
            way=provider.name,
            in_file=provider.in_file,
            lifetime_s=provider.lifetime_s,
        )
        return response

    async def _refused(self, request: web.Request, error: LoginRefused) -> None:
        if (left_out := self._limiter.allow("refused")) is not None:  # whoever tries fills no disk
            await self._access.audit.write(
                "login_refused",
                user=error.values.get("who", "?"),
                address=request[ADDRESS],
                reason=error.key.partition(".")[2],
                count=1 + left_out if left_out else None,
            )

    async def _failed(self, provider: Provider, request: web.Request, error: Exception) -> web.Response:
        if isinstance(error, _Busy):
            return await login_page(
                self._console, request, "login.many", {"provider": provider.title}, status=429
            )
        if (suppressed := self._limiter.allow("failed")) is not None:
            log.warning(
                "console.provider_failed", provider=provider.name, error=str(error), suppressed=suppressed
            )
        return await login_page(
            self._console, request, "login.no_answer", {"provider": provider.title}, status=503
        )

    async def _ask(self, request: web.Request, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
        group = group_of(request[ADDRESS])
        if self._under_way[group] >= _OF_ONE_ADDRESS or self._under_way.total() >= _AT_ONCE:
            raise _Busy
        self._under_way[group] += 1
        try:
            return await question()
        finally:
            self._under_way -= Counter((group,))

    def _back(self, provider: Provider) -> str:
        return f"{self._console.settings.own_origin}/login/{provider.name}/callback"

    def _is_secure(self, request: web.Request) -> bool:
        return self._access.scheme(request) == "https"

    def _cookie(self, request: web.Request) -> str:
        return f"__Host-{COOKIE}" if self._is_secure(request) else COOKIE
