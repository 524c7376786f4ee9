"""The page that asks before an act, with the count and the button; and the page of its result."""

from aiohttp import web

from dingbridge.console.access.middleware import USER
from dingbridge.console.app import Console, Role, require
from dingbridge.console.commands import object_in

_NUMBERS = ("sent", "skipped", "approved", "released")
"""How the commands call the number of those to which they have done it."""


def routes(console: Console) -> list[web.RouteDef]:
    acts = console.acts

    async def confirm(request: web.Request) -> web.Response:
        require(request, Role.OPERATOR)
        act_id = request.match_info["id"]
        entry = acts.of(request[USER].name, act_id)
        if entry.task is not None:
            raise done_at(act_id)
        return await console.page(request, "confirm.html", id=act_id, act=entry.act)

    async def do(request: web.Request) -> web.Response:
        act_id = request.match_info["id"]
        act = acts.of(request[USER].name, act_id).act
        if act.counted is not None and not (act.counted.ok and act.command.count):
            raise web.HTTPBadRequest(text="there is nothing to do; count again")
        acts.begin(request, act_id)
        await acts.ended(request[USER].name, act_id)
        raise done_at(act_id)

    async def done(request: web.Request) -> web.Response:
        require(request, Role.OPERATOR)
        act_id = request.match_info["id"]
        entry = acts.of(request[USER].name, act_id)
        if entry.task is None:
            raise web.HTTPSeeOther(f"/confirm/{act_id}")
        printed = object_in(entry.result.output) if entry.result is not None else {}
        number = next((printed[name] for name in _NUMBERS if name in printed), None)
        return await console.page(
            request, "done.html", act=entry.act, entry=entry, number=number, run=printed.get("run")
        )

    return [web.get("/confirm/{id}", confirm), web.post("/confirm/{id}", do), web.get("/done/{id}", done)]


def to_confirm(act_id: str) -> web.HTTPException:
    """Leads to the page that asks."""
    return web.HTTPSeeOther(f"/confirm/{act_id}")


def done_at(act_id: str) -> web.HTTPException:
    """Leads to the page of the result."""
    return web.HTTPSeeOther(f"/done/{act_id}")
