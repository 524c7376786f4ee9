"""Tail: events as they come, by server-sent events (https://html.spec.whatwg.org/#server-sent-events).

Events go out in few messages, however many come; a reader who is too slow loses the oldest, and gets their
number.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import tzinfo
from typing import Final

import orjson
import structlog
from aiohttp import web
from yarl import URL

from dingbridge.console.access.middleware import USER
from dingbridge.console.app import Console
from dingbridge.console.index.records import IndexedEvent
from dingbridge.console.index.subscription import Subscription
from dingbridge.console.pages.find import event_url
from dingbridge.console.times import local_text, zone_of
from dingbridge.logging import place_of
from dingbridge.worker.store.inbox import storable

log = structlog.get_logger(__name__)

MOST_ROWS: Final = 500
"""Events on the page, and in one message."""

GATHER_S: Final = 0.25
"""How long events are gathered for one message, in s."""

QUIET_S: Final = 15.0
"""After so long without an event a comment is sent, so that who is gone is noticed, in s."""

STREAM_S: Final = 1_800.0
"""After so long a stream ends, in s, also where its reader takes nothing; the browser asks for another."""

MOST_OF_ONE: Final = 3
MOST_STREAMS: Final = 200
"""Open at once: of one user, and of all."""
_FILTERS: Final = ("corp", "type", "subject")
_MOST_TEXT: Final = 256


def routes(console: Console) -> list[web.RouteDef]:
    streams: list[web.Request] = []

    async def show(request: web.Request) -> web.Response:
        wanted = _wanted(request)
        stream = str(URL("/tail/events").with_query(wanted))
        state = console.feed.state
        return await console.page(
            request,
            "tail.html",
            wanted=wanted,
            stream=stream,
            most=MOST_ROWS,
            most_of_one=MOST_OF_ONE,
            state=state,
        )

    async def stream(request: web.Request) -> web.StreamResponse:
        # who has closed a tail has no connection any more, though we notice that later
        alive = [one[USER].name for one in streams if one.transport is not None]
        if alive.count(request[USER].name) >= MOST_OF_ONE or len(alive) >= MOST_STREAMS:
            raise web.HTTPTooManyRequests(text=f"{MOST_OF_ONE} tails of yours are open already; close one")
        headers = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        streams.append(request)
        try:
            wanted = _wanted(request)
            with console.feed.subscribe(matching(**wanted)) as events:
                newest = await console.search.newest(wanted["type"], wanted["corp"], wanted["subject"])
                await response.prepare(request)
                async with asyncio.timeout(STREAM_S):
                    zone = zone_of(request, console.settings)
                    await _send(response, events, newest[::-1], zone, lambda: console.access.holds(request))
        except (ConnectionError, TimeoutError):
            pass  # the reader is gone, or the stream's time is over
        except Exception as error:
            if not response.prepared:
                raise
            # no page can be sent any more: the stream ends, and the browser asks again
            log.error("console.tail_ended", error=type(error).__name__, place=place_of(error))
        finally:
            streams.remove(request)
        return response

    return [web.get("/tail", show), web.get("/tail/events", stream)]


def matching(corp: str, type: str, subject: str) -> Callable[[IndexedEvent], bool]:
    """Whether an event is of that company, EventType and subject; an empty text stands for any."""

    def matches(event: IndexedEvent) -> bool:
        return (
            (not corp or event.corp_id == corp)
            and (not type or event.type == type)
            and (not subject or event.subject == subject)
        )

    return matches


def row_of(event: IndexedEvent, zone: tzinfo) -> dict[str, str]:
    """What the page shows of an event: ids, types and times, as in a log."""
    return {
        "received": local_text(event.received_time, zone),
        "type": event.type,
        "subject": event.subject or "–",
        "corp": event.corp_id,
        "via": event.via,
        "place": ":".join(map(str, event.place)),
        "url": event_url(event),
    }


async def _send(
    response: web.StreamResponse,
    events: Subscription,
    newest: Sequence[IndexedEvent],
    zone: tzinfo,
    allowed: Callable[[], bool],
) -> None:
    """``newest``, then what comes, until the reader is gone, or is not ``allowed`` any more."""
    await response.write(b"retry: 2000\n\n" + _message(newest, 0, zone))
    known = {event.place for event in newest}
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await events.some()
        if not allowed():
            return
        await asyncio.sleep(GATHER_S)
        taken, lost = events.take()
        fresh = [event for event in taken if event.place not in known]
        left_out = lost + max(0, len(fresh) - MOST_ROWS)
        await response.write(
            _message(fresh[-MOST_ROWS:], left_out, zone) if fresh else b": nothing comes\n\n"
        )


def _message(events: Sequence[IndexedEvent], left_out: int, zone: tzinfo) -> bytes:
    message = {"rows": [row_of(event, zone) for event in events], "left_out": left_out}
    return b"data: %b\n\n" % orjson.dumps(message)


def _wanted(request: web.Request) -> dict[str, str]:
    return {name: storable(request.query.get(name, "").strip()[:_MOST_TEXT]) for name in _FILTERS}
