"""Find: an event by any of its ids, its type, its company, or its time; and how far that was looked for."""

import asyncio
from typing import Final

from aiohttp import web
from yarl import URL

from console.app import Console
from console.index.query import parse
from console.index.records import IndexedEvent
from console.sources.journals import JournalAnswer
from dingbridge.events.catalogue import catalogue

LONGEST: Final = 1_000
MOST_WORDS: Final = 16
"""Each is a join, and a key for each company."""


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        text = request.query.get("q", "").strip()[:LONGEST]
        text = text.encode("utf-8", "replace").decode()  # an address may hold half a character
        found, journals = None, list[JournalAnswer]()
        if text:
            if len(parse(text).terms) > MOST_WORDS:
                raise web.HTTPBadRequest(text=f"at most {MOST_WORDS} words at once; leave some out")
            found, journals = await asyncio.gather(console.search.find(text), console.journals.status())
        return await console.page(
            request,
            "find.html",
            text=text,
            found=found,
            journals=journals,
            longest=LONGEST,
            state=console.feed.state,
            event_url=event_url,
            catalogue=catalogue,
        )

    return [web.get("/find", show)]


def event_url(event: IndexedEvent) -> str:
    """The address of its page."""
    place = ":".join(map(str, event.place))
    return str(URL("/event").with_query(source=event.source, id=event.id, at=place))
