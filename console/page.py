"""A template becomes an answer: with words, the person, the menu, and the language's cookie."""

from datetime import datetime
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from aiohttp import web
from yarl import URL

from dingbridge.console.access.middleware import CSRF, USER
from dingbridge.console.access.users import Role, User
from dingbridge.console.render import COOKIE, LANGUAGES, Render, language_of

MENU: Final = (
    ("now", "/"),
    ("tail", "/tail"),
    ("find", "/find"),
    ("event", "/event"),
    ("dead_letters", "/dead-letters"),
    ("consumers", "/consumers"),
    ("catalogue", "/catalogue"),
    ("outbound", "/outbound"),
    ("audit", "/audit"),
)
_YEAR_S: Final = 365 * 86_400


def page_number(request: web.Request) -> int:
    """``?page=``, from 1; 1 for anything else."""
    text = request.query.get("page", "1")
    return max(1, int(text)) if text.isdecimal() and len(text) < 7 else 1


def problem_text(user: User | None, error: Exception) -> str:
    """What is wrong, for ``user``: readers get the words, which may name addresses; others the type alone."""
    return str(error) if user is not None and user.role >= Role.READER else type(error).__name__


def page(
    render: Render, request: web.Request, template: str, zone: ZoneInfo, *, status: int = 200, **values: Any
) -> web.Response:
    """The answer to ``request``, its times in ``zone``. Each template also gets ``t``, ``lang``, ``zone``,
    ``offset`` (as ``+08:00``), ``user`` (None before a login), ``csrf``, ``path``, ``menu``, ``is_reader``,
    ``is_operator``, ``problem_text(error)`` and ``here(**changes)``: this address with other values in its
    query, None to leave one out."""
    user: User | None = request.get(USER)
    language = language_of(request)

    def here(**changes: object) -> str:
        query = [(name, value) for name, value in request.query.items() if name not in changes]
        query += [(name, str(value)) for name, value in changes.items() if value is not None]
        # one slash: a link to //name leads to another host
        return str(URL.build(path="/" + request.path.lstrip("/"), query=query))

    html = render.html(
        template,
        {
            "t": render.translator(language),
            "lang": language,
            "zone": zone,
            "offset": datetime.now(zone).isoformat(timespec="minutes")[-6:],
            "user": user,
            "csrf": request.get(CSRF, ""),
            "path": request.path,
            "menu": MENU,
            "is_reader": user is not None and user.role >= Role.READER,
            "is_operator": user is not None and user.role >= Role.OPERATOR,
            "here": here,
            "problem_text": partial(problem_text, user),
            **values,
        },
    )
    response = web.Response(text=html, content_type="text/html", charset="utf-8", status=status)
    if request.query.get("lang") in LANGUAGES:
        response.set_cookie(COOKIE, language, max_age=_YEAR_S, httponly=True, samesite="Lax", path="/")
    return response
