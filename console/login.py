"""The form to log in by, and the way out."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from yarl import URL

from dingbridge.console.access.guesses import Guesses
from dingbridge.console.access.middleware import ADDRESS, USER
from dingbridge.console.access.users import MAX_PASSWORD
from dingbridge.console.app import Console
from dingbridge.logging import LogLimiter

log = structlog.get_logger(__name__)

BUSY_S: Final = 5.0
"""How long somebody waits, in s, of whose address too many passwords wait to be checked: each takes 50 ms."""


class Login:
    """Checks passwords."""

    def __init__(self, console: Console) -> None:
        self._console, self._access, self._users = console, console.access, console.users
        self._guesses = Guesses()
        self._limiter = LogLimiter(burst=20, period_s=60)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/login", self._form),
            web.post("/login", self._login),
            web.post("/logout", self._logout),
        ]

    async def _form(self, request: web.Request) -> web.Response:
        if USER in request:
            raise web.HTTPSeeOther(safe_path(request.query.get("to", "")))
        return await self._page(request)

    async def _login(self, request: web.Request) -> web.Response:
        form = await request.post()
        name, password = str(form.get("name", ""))[:64], str(form.get("password", ""))[: MAX_PASSWORD + 1]
        address = request[ADDRESS]
        async with self._guesses.turn(address) as is_mine:
            wait_s = self._guesses.wait_s(address, name) if is_mine else BUSY_S
            user = None
            if not wait_s:
                user = await asyncio.to_thread(self._users.verify, name, password)
                (self._guesses.failed if user is None else self._guesses.succeeded)(address, name)
        if wait_s:
            response = await self._page(request, name, "login.wait", status=429, wait_s=int(wait_s) + 1)
            response.headers["Retry-After"] = str(int(wait_s) + 1)
            return response
        if user is None:
            await self._refused(name, address)
            return await self._page(request, name, "login.wrong", status=403)
        response = web.Response(status=303, headers={"Location": safe_path(str(form.get("to", "")))})
        await self._access.log_in(request, response, user)
        return response

    async def _refused(self, name: str, address: str) -> None:
        if (left_out := self._limiter.allow("refused")) is None:
            return  # whoever guesses cannot fill the disk
        known = self._users.find(name) is not None
        # what is typed there may be a password
        await self._access.audit.write(
            "login_refused",
            user=name if known else "?",
            address=address,
            reason="wrong password or name",
            count=1 + left_out if left_out else None,
        )

    async def _logout(self, request: web.Request) -> web.Response:
        name, user = self._access.cookie(request), request[USER]
        self._access.sessions.end(request.cookies.get(name, ""))
        await self._access.audit.write(
            "logout", user=user.name, role=user.role.name.lower(), address=request[ADDRESS]
        )
        response = web.Response(status=303, headers={"Location": "/login"})
        response.del_cookie(name, path="/", secure=self._access.scheme(request) == "https")
        return response

    async def _page(
        self, request: web.Request, name: str = "", problem: str = "", status: int = 200, wait_s: int = 0
    ) -> web.Response:
        to = request.query.get("to", "") or str((await request.post()).get("to", ""))
        return await login_page(
            self._console, request, problem, {"seconds": wait_s}, status=status, name=name, to=to
        )


async def login_page(
    console: Console,
    request: web.Request,
    problem: str = "",
    values: Mapping[str, object] | None = None,
    *,
    status: int = 200,
    name: str = "",
    to: str = "",
) -> web.Response:
    """The form, and the ways to providers; ``problem`` is a key of ``words/login.toml``, with ``values``."""
    ways = [(provider.name, provider.title) for provider in console.providers]
    template: dict[str, object] = {"name": name, "problem": problem, "values": values or {}, "ways": ways}
    template |= {"to": safe_path(to), "here": partial(login_url, safe_path(to))}
    return await console.page(request, "login.html", status=status, **template)


def login_url(to: str, **query: str) -> str:
    """The form's address, in the place of the page's own: that may hold a provider's code."""
    return str(URL("/login").with_query({"to": to, **query}))


def safe_path(to: str) -> str:
    """A path of ours, never another site's."""
    return to if to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable() else "/"
