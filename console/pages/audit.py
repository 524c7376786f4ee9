"""Audit: who did what, when, and to how many."""

from dataclasses import replace

from aiohttp import web

from console.access.middleware import USER
from console.app import Console, Role
from console.audit import ACTS
from console.commands import without_texts

LIMIT = 200


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        user, act = request.query.get("user", "").strip(), request.query.get("act", "")
        entries = await console.audit.read(LIMIT, user=user, act=act)
        if request[USER].role < Role.READER:
            entries = [
                replace(one, command=without_texts(one.command)) if one.command else one for one in entries
            ]
        return await console.page(
            request, "audit.html", entries=entries, wanted_user=user, wanted_act=act, acts=ACTS, limit=LIMIT
        )

    return [web.get("/audit", show)]
