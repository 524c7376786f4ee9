"""Dead letters and parked records: counted by reason, looked at, sent back or given up."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from console.app import Console, Role, require
from console.commands import not_counted, object_in, told_count
from console.page import page_number
from console.selection import MOST_LETTERS, Selection, act_of
from console.sources.dead_letters import DeadLetters
from dingbridge.errors import KafkaUnavailable, TopicError
from dingbridge.events import NotAnEvent, decode
from dingbridge.replay.dead_letters import DeadLetter

PER_PAGE: Final = 100


def routes(console: Console) -> list[web.RouteDef]:
    dead_letters = DeadLetters(console.kafka)
    one_at_a_time = asyncio.Lock()

    async def overview(request: web.Request) -> web.Response:
        consumers, problem = [], None
        try:
            consumers = await dead_letters.overview()
        except KafkaUnavailable as error:  # the journals are here, whatever Kafka is
            problem = error
        return await console.page(
            request,
            "dead_letters.html",
            consumers=consumers,
            problem=problem,
            group_query=_group_query,
            journals=await console.journals.status(),
        )

    async def listed(request: web.Request) -> web.Response:
        chosen = Selection.of(request.query)
        page = page_number(request)
        try:
            letters, more = await dead_letters.listed(
                chosen.consumer, chosen.wanted(), after=(page - 1) * PER_PAGE, limit=PER_PAGE
            )
        except TopicError as error:
            raise web.HTTPNotFound(text=str(error)) from None
        return await console.page(
            request,
            "dead_letters_list.html",
            chosen=chosen,
            letters=letters,
            events=[_event_query(letter) for letter in letters],
            first=(page - 1) * PER_PAGE + 1,
            page=page,
            more=more,
            most=MOST_LETTERS,
        )

    async def confirm(request: web.Request) -> web.Response:
        require(request, Role.OPERATOR)
        act = act_of(request.query.get("act", ""))
        named, which = Selection.of(request.query), request.query.get("which", "")
        if which == "selected" and not named.letters:
            raise web.HTTPBadRequest(text="no letter is selected; go back and tick some")
        bound = named.fixed(datetime.now(UTC))
        counted = await console.commands.run(request, bound.command(act, dry_run=True))
        plan = object_in(counted.output)
        count = plan.get("to_skip", plan.get("to_send", 0))
        if not bound.letters:
            bound = replace(bound, limit=count)
        return await console.page(
            request,
            "confirm.html",
            words={
                "confirm": f"dead_letters.confirm_{act}",
                "counted": f"dead_letters.counted_{act}",
                "bound": "dead_letters.bound_letters" if bound.letters else "dead_letters.bound",
                "do": f"dead_letters.do_{act}",
            },
            consumer=bound.consumer,
            action="/dead-letters/send",
            act=act,
            chosen=bound,
            counted=counted,
            count=count,
            planned=bound.command(act, count=count),
            back=f"/dead-letters/letters?{named.query}",
        )

    async def send(request: web.Request) -> web.Response:
        form = await request.post()
        act, chosen = act_of(str(form.get("act", ""))), Selection.of(form)
        told = told_count(form)
        if not (chosen.letters or (chosen.limit and chosen.until)):
            raise not_counted()
        async with one_at_a_time:  # two at once, by a double click, would both find the letters waiting
            done = await console.commands.run(request, chosen.command(act, count=told))
        ended = object_in(done.output)
        unbound = replace(chosen, letters=(), until="", limit=0)
        return await console.page(
            request,
            "dead_letters_done.html",
            status=200 if done.ok else 502,
            act=act,
            chosen=unbound,
            told=told,
            number=ended.get("sent", ended.get("skipped")),
            run=ended.get("run"),
            done=done,
        )

    return [
        web.get("/dead-letters", overview),
        web.get("/dead-letters/letters", listed),
        web.get("/dead-letters/confirm", confirm),
        web.post("/dead-letters/send", send),
    ]


def _group_query(consumer: str, error: str, event_type: str) -> str:
    """The address of a group's letters."""
    return urlencode({"consumer": consumer, "error_is": error, "events": event_type})


def _event_query(letter: DeadLetter) -> str | None:
    """The address of the event's own page; None for what is no event."""
    try:
        event = decode(letter.record.value or b"")
    except NotAnEvent:
        return None
    return urlencode({"source": event.source, "id": event.id})
