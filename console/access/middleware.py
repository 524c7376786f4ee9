"""Checks every request before a page sees it: the user, the host name asked for, and whether they may act.

``request[USER]`` is the logged-in user, ``request[ADDRESS]`` their address, ``request[CSRF]`` the token that
a form has to send back. Pages are for those who are logged in; anything but GET and HEAD is for operators.
"""

import hmac
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dingbridge.console.access.sessions import LIFETIME_S, Sessions
from dingbridge.console.access.settings import AccessSettings
from dingbridge.console.access.users import Role, User, UsersError, role_of
from dingbridge.console.audit import Audit
from dingbridge.health_server import is_own_name
from dingbridge.logging import LogLimiter
from dingbridge.settings.trusted_proxies import client_address, is_trusted

log = structlog.get_logger(__name__)

COOKIE: Final = "console-session"
SECRET_HEADER: Final = "X-Console-Proxy-Secret"  # noqa: S105
CSRF_FIELD: Final = "csrf"
LONGEST_NAME: Final = 64
"""Characters of a user's name."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: with it browsers name the origin of our own forms "null" (Fetch standard, "append a
    # request `Origin` header"), like foreign ones. This one sends other origins nothing, too.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

USER: Final = web.RequestKey("user", User)
"""Absent where nobody is logged in."""
ADDRESS: Final = web.RequestKey("address", str)
"""Empty where a connection has none."""
CSRF: Final = web.RequestKey("csrf", str)
"""Empty where nobody is logged in."""

_SAFE: Final = ("GET", "HEAD")
_FOR_EVERYBODY: Final = ("/healthz", "/login")
_BY_PROVIDERS: Final = "/login/"
"""Below it are the ways to providers and back, which change nothing without a proof."""
_FOR_EVERY_USER: Final = ("/logout",)


def require(request: web.Request, role: Role) -> None:
    """Raises 403 for a user whose role is a lower one."""
    user = request[USER]
    if user.role < role:
        raise web.HTTPForbidden(text=f"this is for the role {role.name.lower()}")


@web.middleware
async def security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Adds ``HEADERS`` to every answer, errors included; a page stays in no cache."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        _add_headers(request, error)
        raise
    if not response.prepared:  # a stream has sent them already
        _add_headers(request, response)
    return response


def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    kept = "no-cache" if request.path.startswith("/static/") else "no-store"
    response.headers.setdefault("Cache-Control", kept)


async def headers_of_stream(request: web.Request, response: web.StreamResponse) -> None:
    """For ``on_response_prepare``, so for streams too; takes out the header with our software's version."""
    _add_headers(request, response)
    response.headers.popall("Server", None)


@dataclass(frozen=True, slots=True)
class Access:
    """Who gets in, by a session or a proxy's header."""

    settings: AccessSettings
    sessions: Sessions
    audit: Audit
    _refusals: LogLimiter = field(default_factory=lambda: LogLimiter(burst=20, period_s=60))

    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[ADDRESS] = self._address(request) or ""
            request[CSRF] = ""
            if request.path == "/healthz":
                return await handler(request)
            self._check_name(request)
            if request.path.startswith("/static/"):
                return await handler(request)
            if _is_part_of_foreign_page(request):
                raise web.HTTPForbidden(text="refused: foreign page")
            user, secret = self._user(request)
            if user is not None:
                request[USER], request[CSRF] = user, self.sessions.csrf_token(secret)
            if request.method not in _SAFE:
                await _check_form(request)
                await self._may_act(request, user)
            elif user is None and not _is_open(request.path):
                raise _to_login(request)
            return await handler(request)

        return guard

    async def log_in(
        self,
        request: web.Request,
        response: web.Response,
        user: User,
        *,
        way: str | None = None,
        in_file: bool = True,
        lifetime_s: float = LIFETIME_S,
    ) -> None:
        """Give ``response`` the cookie of a new session, after a line in the audit; the session that the
        browser has ends. Raises ``KeyError`` as ``Sessions.begin``."""
        self.sessions.end(request.cookies.get(self.cookie(request), ""))
        session_id = self.sessions.begin(user, in_file=in_file, lifetime_s=lifetime_s)
        role, address = user.role.name.lower(), request[ADDRESS]
        await self.audit.write("login", user=user.name, role=role, address=address, command=way)
        response.set_cookie(
            self.cookie(request),
            session_id,
            max_age=int(lifetime_s),
            httponly=True,
            samesite="Strict",
            path="/",
            secure=self.scheme(request) == "https",
        )

    def holds(self, request: web.Request) -> bool:
        """Whether the user may still have the answer: for one that goes on for long."""
        user = request[USER]
        try:
            now, _ = self._user(request)
        except UsersError:
            return False
        return now is not None and (now.name, now.role) == (user.name, user.role)

    def scheme(self, request: web.Request) -> str:
        """How the browser speaks to us, or to a proxy of ours."""
        if _by_socket(request) or is_trusted(request.remote, self.settings.trusted_proxies):
            forwarded = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
            if forwarded in ("http", "https"):
                return forwarded
        return request.scheme

    def _address(self, request: web.Request) -> str | None:
        peer, forwarded = request.remote, request.headers.getall("X-Forwarded-For", [])
        if _by_socket(request):  # whoever may use it is a proxy, and added the last
            before, _, last = ",".join(forwarded).rpartition(",")
            peer, forwarded = last.strip(), [before]
            if not _is_address(peer):
                return None
        return client_address(peer, forwarded, self.settings.trusted_proxies)

    def _check_name(self, request: web.Request) -> None:
        """A page of somebody else's may have pointed its own name at this address (DNS rebinding), and would
        then be of our origin: so we answer to addresses, names without a dot, and names that are set."""
        own = [self.settings.console_host, *self.settings.console_names, *self.settings.own_names]
        if not is_own_name(request.host, own):
            raise web.HTTPMisdirectedRequest(
                text="this is no name of the console; use its address, or add the name to CONSOLE_NAMES"
            )

    def _user(self, request: web.Request) -> tuple[User | None, str]:
        """The user, and what their CSRF token is made of. Raises 403 for an invalid name."""
        header = self.settings.console_proxy_user_header
        if header and (name := _only(request, header)) and self._is_proxy(request):
            if len(name) > LONGEST_NAME or not name.isprintable():  # cut, two could be one
                raise web.HTTPForbidden(
                    text=f"{header} must name a user in at most {LONGEST_NAME} printable characters of UTF-8"
                )
            return User(f"proxy:{name}", self._role_by_proxy(request)), f"proxy {name}"
        session_id = request.cookies.get(self.cookie(request), "")
        user = self.sessions.user(session_id) if session_id else None
        return user, f"session {session_id}"

    def cookie(self, request: web.Request) -> str:
        """The name of the session's cookie. Behind TLS it is one that no page without TLS, and no other host,
        can have set (RFC 6265bis, 4.1.3.2)."""
        return f"__Host-{COOKIE}" if self.scheme(request) == "https" else COOKIE

    def _is_proxy(self, request: web.Request) -> bool:
        """Whether its user header is believed. The address alone proves nothing: any program on the proxy's
        machine has the same."""
        if _by_socket(request):
            return True
        secret, sent = self.settings.console_proxy_secret, _only(request, SECRET_HEADER)
        known = secret is not None and is_trusted(request.remote, self.settings.trusted_proxies)
        expected = "" if secret is None else secret.get_secret_value()
        if known and hmac.compare_digest(sent.encode(errors="replace"), expected.encode()):
            return True
        if (suppressed := self._refusals.allow("proxy")) is not None:
            why = "wrong or no secret" if known else "not of TRUSTED_PROXIES"
            log.warning("console.proxy_refused", remote=request.remote, reason=why, suppressed=suppressed)
        return False

    def _role_by_proxy(self, request: web.Request) -> Role:
        header = self.settings.console_proxy_role_header
        try:
            return role_of(_only(request, header)) if header else Role.VIEWER
        except UsersError:
            return Role.VIEWER

    async def _may_act(self, request: web.Request, user: User | None) -> None:
        """A form of ours, by somebody who may. Raises 403, after a line in the audit."""
        reason = None
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{self.scheme(request)}://{request.host}":
            reason = "foreign origin"
        elif request.path not in _FOR_EVERYBODY:
            if user is None:
                reason = "not logged in"
            elif user.role < Role.OPERATOR and request.path not in _FOR_EVERY_USER:
                reason = "role"
            elif not await _has_token(request):
                reason = "csrf"
        if reason is None:
            return
        left_out = None if user is None else self._refusals.allow(user.name)
        if user is not None and left_out is not None:  # limited, so that refusals fill no disk
            await self.audit.write(
                "refused",
                user=user.name,
                role=user.role.name.lower(),
                address=request[ADDRESS],
                command=f"{request.method} {request.path[:200]}",
                reason=reason,
                count=1 + left_out if left_out else None,
            )
        raise web.HTTPForbidden(text=f"refused: {reason}")


def _only(request: web.Request, header: str) -> str:
    """The header's value; empty if it is there twice: a proxy may have added its own to a stranger's."""
    values: Sequence[str] = request.headers.getall(header, [])
    return values[0].strip() if len(values) == 1 else ""


def _by_socket(request: web.Request) -> bool:
    used = request.get_extra_info("socket")
    return used is not None and used.family == socket.AF_UNIX


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_part_of_foreign_page(request: web.Request) -> bool:
    """Whether a page of another origin loads it, as an image, a frame, a script (Fetch Metadata). Our cookie
    does not come along then, but a proxy's may, and the audit would name its user for it."""
    where, what = (request.headers.get(f"Sec-Fetch-{name}", "") for name in ("Site", "Dest"))
    return where in ("cross-site", "same-site") and what != "document"


def _is_open(path: str) -> bool:
    return path in _FOR_EVERYBODY or path.startswith(_BY_PROVIDERS)


async def _check_form(request: web.Request) -> None:
    """Our forms are in UTF-8, and hold no files. Else a stranger chooses the codec, and 1 MiB of ``punycode``
    holds the console up for minutes."""
    is_form = request.content_type == "application/x-www-form-urlencoded"
    if request.can_read_body and not (is_form and (request.charset or "utf-8").lower() == "utf-8"):
        raise web.HTTPUnsupportedMediaType(text="send a form: application/x-www-form-urlencoded in UTF-8")
    try:
        await request.post()
    except (UnicodeDecodeError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="the form cannot be read") from None


async def _has_token(request: web.Request) -> bool:
    sent = (await request.post()).get(CSRF_FIELD)
    expected = request[CSRF]
    return isinstance(sent, str) and hmac.compare_digest(sent.encode("utf-8", "replace"), expected.encode())


def _to_login(request: web.Request) -> web.HTTPException:
    where = f"/login?to={quote(request.path_qs, safe='')}"
    if request.headers.get("HX-Request"):  # a part of a page that is open since before the session's end
        return web.HTTPUnauthorized(text="log in again", headers={"HX-Redirect": "/login"})
    return web.HTTPSeeOther(where)
