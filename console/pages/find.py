"""Find: an event by any of its ids, its type, its company, or its time; and how far that was looked for."""

import asyncio
from typing import Final

from aiohttp import web
from yarl import URL

from console.app import Console
from console.index.query import parse
from console.index.records import IndexedEvent
from dingbridge.events import extract_facts
from dingbridge.events.catalogue import catalogue

LONGEST: Final = 1_000


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        text = request.query.get("q", "").strip()[:LONGEST]
        text = text.encode("utf-8", "replace").decode()  # an address may hold half a character
        found = unpublished = None
        if text:
            terms = parse(text).terms
            found, unpublished = await asyncio.gather(
                console.search.find(text), console.journals.unpublished(_parts(terms))
            )
        return await console.page(
            request,
            "find.html",
            text=text,
            found=found,
            unpublished=unpublished,
            longest=LONGEST,
            state=console.feed.state,
            event_url=event_url,
            catalogue=catalogue,
            type_of=lambda callback: extract_facts(callback.row.body).event_type,
        )

    return [web.get("/find", show)]


def event_url(event: IndexedEvent) -> str:
    """The address of its page."""
    place = ":".join(map(str, event.place))
    return str(URL("/event").with_query(source=event.source, id=event.id, at=place))


def _parts(terms: tuple[str, ...]) -> list[str]:
    """What a callback must hold: of ``<type>:<id>`` and ``<corpId>:<subject>`` both sides."""
    return [part for term in terms for part in term.replace("/", ":").split(":") if part]
