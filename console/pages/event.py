"""Event: one event's whole life, from its first arrival to what each consumer made of it."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from console.access.middleware import USER
from console.app import Console, Role, require
from console.commands import Command
from console.index.records import IndexedEvent
from console.life.event import KeptRecord, kept_record
from console.life.examples import curl, fixture, kcat, pretty
from console.life.facts import facts_of
from console.life.outbound import NAME as OUTBOUND
from console.life.outbound import told_of
from console.life.outcome import Facts, Outcome, Replayed, outcome_of, replays_of
from console.pages.find import event_url
from dingbridge.events.catalogue import catalogue
from dingbridge.events.event import NotAnEvent
from dingbridge.masking import mask, mask_event, reveal, reveal_bytes, shown_body
from dingbridge.worker.context import Position

GOOD, BAD, WARN = (
    ("handled",),
    ("dead",),
    ("retrying", "paused", "waiting"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One consumer: what became of the record, and of what was sent to it once more; ``replay`` is the
    command that sends it, None for a consumer that is not installed here."""

    facts: Facts
    outcome: Outcome
    replays: list[Replayed]
    replay: Command | None


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        query = {name: _text(request.query.get(name, "")) for name in ("source", "id", "at")}
        if not any(query.values()):
            return await console.page(request, "event.html", kept=None, query=None)
        events, kept = await _look(console, **query)
        if kept is None:
            return await console.page(request, "event.html", status=404, kept=None, query=query)
        place = kept.event.place
        rows = [_row(place, facts) for facts in await facts_of(console, events)]
        outbound = next((row for row in rows if row.facts.consumer == OUTBOUND and row.facts.installed), None)
        told = None
        if outbound is not None:
            handled = outbound.outcome.state == "handled"
            told = await told_of(console, kept.event, handled=handled)
        return await console.page(
            request,
            "event.html",
            query=query,
            kept=kept,
            events=events,
            event_url=event_url,
            spec=catalogue.get(kept.event.type),
            rows=rows,
            told=told,
            mark=_mark,
            state=console.feed.state,
            **_values(console, kept, revealed=request[USER].role >= Role.READER),
        )

    async def replay(request: web.Request) -> web.Response:
        require(request, Role.OPERATOR)
        form = await request.post()
        query = {name: _text(str(form.get(name, ""))) for name in ("source", "id", "at")}
        events, kept = await _look(console, **query)
        wanted = str(form.get("consumer", ""))
        facts = await facts_of(console, events) if kept is not None else []
        row = next((_row(kept.event.place, one) for one in facts if kept and one.consumer == wanted), None)
        if kept is None or row is None or row.replay is None:
            raise web.HTTPBadRequest(text="no such record, or no consumer of this name that reads it")
        done = await console.commands.run(request, row.replay)
        back = event_url(kept.event)
        status = 200 if done.ok else 502
        return await console.page(request, "event_done.html", status=status, done=done, back=back)

    return [web.get("/event", show), web.post("/event/replay", replay)]


async def _look(
    console: Console, source: str, id: str, at: str
) -> tuple[list[IndexedEvent], KeptRecord | None]:
    """All records of the event that are known, and the one that is meant: that at ``at``, else the first."""
    events = await console.search.of_event(source, id) if source or id else []
    place = _place(at) or (events[0].place if events else None)
    if place is None:
        return events, None
    indexed = next((event for event in events if event.place == place), None)
    kept = await kept_record(console, indexed, place)
    if kept is None or (source and (kept.event.source, kept.event.id) != (source, id) and indexed is None):
        return events, None
    return events if indexed is not None else [*events, kept.event], kept


def _row(place: Position, facts: Facts) -> Row:
    outcome, replays = outcome_of(place, facts), replays_of(place, facts)
    command = None
    if facts.installed:
        record = ":".join(map(str, place))
        again = ("--again",) if replays else ()
        command = Command(("replay", facts.consumer, "--record", record, *again, "--yes"), 1)
    return Row(facts, outcome, replays, command)


def _values(console: Console, kept: KeptRecord, *, revealed: bool) -> dict[str, Any]:
    """The texts of the page; of what is private only to a reader."""
    found: dict[str, Any] = {"came": None, "envelope": None, "dingtalk": None, "fixture": None, "curl": None}
    found["kcat"] = kcat(console.kafka, kept.event.place)
    if kept.body is not None:
        found["came"] = shown_body(kept.body, revealed=revealed)
    if kept.decoded is not None:
        envelope = kept.decoded.envelope
        found["envelope"] = pretty(reveal(envelope) if revealed else mask_event(envelope))
    spelled = _spelled(kept)
    if spelled is not None:
        found["dingtalk"] = pretty(reveal(spelled) if revealed else mask(spelled))
    if revealed and spelled is not None:
        found["fixture"] = fixture(reveal(spelled))
        body = kept.body if kept.body is not None else pretty(spelled).encode()
        found["curl"] = curl(reveal_bytes(body), console.settings.local_callback)
    return found


def _spelled(kept: KeptRecord) -> dict[str, Any] | None:
    try:
        return kept.dingtalk
    except NotAnEvent:
        return None


def _mark(outcome: Outcome) -> str:
    """How the state is drawn."""
    state = outcome.state
    return "good" if state in GOOD else "bad" if state in BAD else "warn" if state in WARN else "unknown"


def _place(at: str) -> Position | None:
    topic, _, rest = at.partition(":")
    partition, _, offset = rest.partition(":")
    if not topic or not all(part.isdecimal() and len(part) < 19 for part in (partition, offset)):
        return None
    return Position(topic, int(partition), int(offset))


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()  # an address may hold half a character
