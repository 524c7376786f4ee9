"""Dead letters and parked records: counted by reason, looked at, sent back or given up."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from dingbridge.console.access.limits import SearchesOfEach
from dingbridge.console.access.middleware import USER
from dingbridge.console.acts import Act
from dingbridge.console.app import Console, Role, require
from dingbridge.console.commands import object_in
from dingbridge.console.page import page_number
from dingbridge.console.pages.acts import to_confirm
from dingbridge.console.selection import MOST_LETTERS, Selection, act_of
from dingbridge.console.sources.dead_letters import ConsumerGroups, DeadLetters
from dingbridge.errors import KafkaUnavailable, TopicError
from dingbridge.events import NotAnEvent, decode
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.dead_letters import DeadLetter

PER_PAGE: Final = 100


def routes(console: Console) -> list[web.RouteDef]:
    dead_letters, readings = DeadLetters(console.kafka), SearchesOfEach()
    consumers: list[ConsumerGroups] = []
    known_at: float | None = None

    async def overview(request: web.Request) -> web.Response:
        nonlocal consumers, known_at
        problem = None
        try:
            async with readings.turn(request):
                consumers = await console.ask_kafka.at_length(dead_letters.overview)
            known_at = time.time()
        except KafkaUnavailable as error:  # what was known, and the journals, are here, whatever Kafka is
            problem = error
        return await console.page(
            request,
            "dead_letters.html",
            consumers=consumers,
            problem=problem,
            known_at=known_at,
            group_query=_group_query,
            journals=await console.journals.status(),
        )

    async def listed(request: web.Request) -> web.Response:
        chosen = Selection.of(request.query)
        page = page_number(request)
        wanted, after, problem = chosen.wanted(), (page - 1) * PER_PAGE, None
        try:
            async with readings.turn(request):
                letters, more = await console.ask_kafka.at_length(
                    lambda: dead_letters.listed(chosen.consumer, wanted, after=after, limit=PER_PAGE)
                )
        except TopicError as error:
            raise web.HTTPNotFound(text=str(error)) from None
        except KafkaUnavailable as error:
            letters, more, problem = [], False, error
        return await console.page(
            request,
            "dead_letters_list.html",
            chosen=chosen,
            problem=problem,
            letters=letters,
            events=[_event_query(letter) for letter in letters],
            first=after + 1,
            page=page,
            more=more,
            most=MOST_LETTERS,
        )

    async def count(request: web.Request) -> web.Response:
        require(request, Role.OPERATOR)
        form = await request.post()
        kind = act_of(str(form.get("act", "")))
        named = Selection.of(form)
        if form.get("which") == "selected" and not named.letters:
            raise web.HTTPBadRequest(text="no letter is selected; go back and tick some")
        await console.ask_kafka(lambda: existing_topics(console.kafka))  # else the command would wait for it
        bound = named.fixed(datetime.now(UTC))
        counted = await console.commands.run(request, bound.command(kind, dry_run=True))
        plan = object_in(counted.output)
        found = plan.get("to_skip", plan.get("to_send", 0))
        if not bound.letters:
            bound = replace(bound, limit=found)
        unbound = replace(named, letters=(), limit=0)
        act = Act(
            kind,
            bound.consumer,
            bound.command(kind, count=found),
            f"/dead-letters/letters?{unbound.query}",
            counted,
            until=bound.until,
        )
        raise to_confirm(console.acts.keep(request[USER].name, act))

    return [
        web.get("/dead-letters", overview),
        web.get("/dead-letters/letters", listed),
        web.post("/dead-letters/count", count),
    ]


def _group_query(consumer: str, error: str, event_type: str) -> str:
    """The address of a group's letters."""
    return urlencode({"consumer": consumer, "error_is": error, "events": event_type})


def _event_query(letter: DeadLetter) -> str | None:
    """The address of the event's own page; None for a record that is no event."""
    try:
        event = decode(letter.record.value or b"")
    except NotAnEvent:
        return None
    return urlencode({"source": event.source, "id": event.id})
