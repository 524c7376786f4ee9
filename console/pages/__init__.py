"""The pages, a module each: ``routes(console)`` gives what it serves."""

from aiohttp import web

from dingbridge.console.app import Console
from dingbridge.console.pages import (
    acts,
    audit,
    catalogue,
    consumers,
    dead_letters,
    event,
    find,
    login_elsewhere,
    now,
    outbound,
    tail,
)

_PAGES = (now, tail, find, event, dead_letters, consumers, catalogue, outbound, audit, acts, login_elsewhere)


def all_routes(console: Console) -> list[web.RouteDef]:
    return [route for page in _PAGES for route in page.routes(console)]
