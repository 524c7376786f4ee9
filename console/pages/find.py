"""Find: events by any of their ids, type, company or time, with their outcomes and what was searched; and the
people, departments and approvals that the words may mean, by whose ids events are found then."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Final

from aiohttp import web
from yarl import URL

from dingbridge.console.access.limits import SearchesOfEach
from dingbridge.console.access.middleware import ADDRESS, USER
from dingbridge.console.app import Console, Role
from dingbridge.console.index.query import parse
from dingbridge.console.index.records import IndexedEvent
from dingbridge.console.life.brief import MARKS, in_brief
from dingbridge.console.life.facts import facts_of_each
from dingbridge.console.lookup.hits import Hit
from dingbridge.console.lookup.lookup import LookedUp, look_up
from dingbridge.console.sources.journals import JournalAnswer
from dingbridge.console.times import zone_of
from dingbridge.events.catalogue import catalogue

LONGEST: Final = 1_000
MOST_WORDS: Final = 16
"""Each is a join, and a key for each company."""
MOST_IN_AUDIT: Final = 10


def routes(console: Console) -> list[web.RouteDef]:
    searches = SearchesOfEach()

    async def show(request: web.Request) -> web.Response:
        async with searches.turn(request) if request.query.get("q") else nullcontext():
            return await answered(request)

    async def answered(request: web.Request) -> web.Response:
        text = request.query.get("q", "").replace("\0", " ").strip()[:LONGEST]
        text = text.encode("utf-8", "replace").decode()  # an address may hold half a character
        zone = zone_of(request, console.settings)
        found, meant, journals = None, LookedUp(), list[JournalAnswer]()
        names: Sequence[str] = ()
        companies: Sequence[str] = ()
        if text:
            terms = parse(text, zone).terms
            if len(terms) > MOST_WORDS:
                raise web.HTTPBadRequest(text=f"at most {MOST_WORDS} words at once; leave some out")
            companies = await asyncio.to_thread(console.search.companies)
            names = [term for term in terms if term not in catalogue and term not in companies]
            found, meant, journals = await asyncio.gather(
                console.search.find(text, zone), looked_up(request, names), console.journals.status()
            )

        facts = await facts_of_each(console, found.events if found is not None else ())
        outcomes = {place: in_brief(place, of_each) for place, of_each in facts.items()}

        def hit_url(hit: Hit) -> str:
            """The same question, with the id in the place of the names."""
            rest = [word for word in text.split() if word not in names]
            if len(companies) > 1 and hit.corp_id not in rest:
                rest.insert(0, hit.corp_id)
            return str(URL("/find").with_query(q=" ".join([hit.id or "", *rest])))

        return await console.page(
            request,
            "find.html",
            text=text,
            found=found,
            outcomes=outcomes,
            marks=MARKS,
            meant=meant,
            names=names,
            companies=companies,
            journals=journals,
            longest=LONGEST,
            state=console.feed.state,
            event_url=event_url,
            hit_url=hit_url,
            catalogue=catalogue,
        )

    async def looked_up(request: web.Request, names: Sequence[str]) -> LookedUp:
        """A look-up of people is in the audit, with whom it found, before the page shows it."""
        user = request[USER]
        meant = await look_up(console.databases, names, people=user.role >= Role.READER)
        if meant.people and names:
            shown = [hit for hit in meant.hits if hit.is_private]
            await console.audit.write(
                "looked_up",
                user=user.name,
                role=user.role.name.lower(),
                address=request[ADDRESS],
                count=len(shown),
                kinds=sorted({hit.kind for hit in shown}),
                found=[hit.id for hit in shown if hit.kind == "person"][:MOST_IN_AUDIT],
            )
        return meant

    return [web.get("/find", show)]


def event_url(event: IndexedEvent) -> str:
    """The address of its page."""
    place = ":".join(map(str, event.place))
    return str(URL("/event").with_query(source=event.source, id=event.id, at=place))
