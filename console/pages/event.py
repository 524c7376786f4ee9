"""Event: one event's whole life, from its first arrival to its outcome at each consumer."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from dingbridge.console.access.middleware import USER
from dingbridge.console.acts import Act
from dingbridge.console.app import Console, Role, require
from dingbridge.console.commands import Command
from dingbridge.console.index.records import IndexedEvent
from dingbridge.console.life.brief import MARKS, at_last
from dingbridge.console.life.changes import changes_by_dingtalk
from dingbridge.console.life.event import KeptRecord, kept_record
from dingbridge.console.life.examples import curl, fixture, kcat, pretty
from dingbridge.console.life.facts import facts_of
from dingbridge.console.life.outbound import NAME as OUTBOUND
from dingbridge.console.life.outbound import reported_of
from dingbridge.console.life.outcome import Facts, Outcome, Replayed, outcome_of, replays_of
from dingbridge.console.life.summary import summary_of
from dingbridge.console.pages.acts import done_at
from dingbridge.console.pages.find import event_url
from dingbridge.events.catalogue import catalogue
from dingbridge.events.event import NotAnEvent
from dingbridge.masking import mask, mask_event, reveal, reveal_bytes, shown_body
from dingbridge.worker.context import Position


@dataclass(frozen=True, slots=True)
class Row:
    """One consumer: the outcome of the record, and of what was sent to it once more; ``replay`` is the
    command that sends it, or its dead letter that waits; None for a consumer that is not installed here."""

    facts: Facts
    outcome: Outcome
    replays: list[Replayed]
    replay: Command | None

    @property
    def last(self) -> Outcome:
        """The last outcome of the event at this consumer."""
        return at_last(self.outcome, self.replays)

    @property
    def seen(self) -> str:
        """What the page showed; if it has changed since, nothing is sent again."""
        state = self.outcome.state
        known = next((word for word in ("handled", "committed", "dead") if state.startswith(word)), "open")
        return f"{known} {len(self.replays)}"


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
        of_outbound = None
        if outbound is not None:
            handled = outbound.outcome.state == "handled"
            of_outbound = await reported_of(console, kept.event, handled=handled)
        absent = [name for name, group in console.watch.view().groups.items() if not group.members]
        decoded = kept.decoded
        return await console.page(
            request,
            "event.html",
            query=query,
            kept=kept,
            summary=summary_of({row.facts.consumer: row.last for row in rows}, absent),
            absent=absent,
            changes=changes_by_dingtalk(decoded.data, decoded.subject) if decoded is not None else [],
            why=why,
            events=events,
            event_url=event_url,
            spec=catalogue.get(kept.event.type),
            rows=rows,
            of_outbound=of_outbound,
            marks=MARKS,
            state=console.feed.state,
            act_id=console.acts.new_id(),
            **_values(console, kept, revealed=request[USER].role >= Role.READER),
        )

    async def replay(request: web.Request) -> web.Response:
        require(request, Role.OPERATOR)
        form, user = await request.post(), request[USER].name
        act_id, wanted, seen = (str(form.get(name, "")) for name in ("act", "consumer", "seen"))
        if not console.acts.knows(user, act_id):
            query = {name: _text(str(form.get(name, ""))) for name in ("source", "id", "at")}
            events, kept = await _look(console, **query)
            facts = await facts_of(console, events) if kept is not None else []
            row = next(
                (_row(kept.event.place, one) for one in facts if kept and one.consumer == wanted), None
            )
            if kept is None or row is None or row.replay is None:
                raise web.HTTPBadRequest(text="no such record, or no consumer of this name that reads it")
            subject = (wanted, *map(str, kept.event.place))
            # from here on nothing is waited for: of two that saw the same, one begins
            by, begun = console.acts.begun(subject, seen) or (user, "")
            if by != user or (not begun and seen != row.seen):
                raise web.HTTPConflict(
                    text="since you looked, it was sent again or its outcome changed; look first"
                )
            if not begun:
                act = Act("event", wanted, row.replay, event_url(kept.event), subject=subject, seen=seen)
                console.acts.begin(request, act_id, act)
            act_id = begun or act_id
        await console.acts.ended(user, act_id)
        raise done_at(act_id)

    def why(facts: Facts) -> str:
        """Why the time of handling is not known, where it is not."""
        return "silent" if facts.problems else "no_row"

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
    command, last = None, at_last(outcome, replays)
    if last.state == "dead" and last.letter is not None:
        # the record alone would leave the letter waiting, and Now with it
        where = f"{last.letter.place.partition}/{last.letter.place.offset}"
        command = Command(("dlq", "replay", facts.consumer, "--letter", where, "--yes"), 1)
    elif facts.installed:
        record = ":".join(map(str, place))
        another = ("--run", f"{len(replays) + 1}") if replays else ()  # under the same id it is passed over
        command = Command(("replay", facts.consumer, "--record", record, *another, "--yes"), 1)
    return Row(facts, outcome, replays, command)


def _values(console: Console, kept: KeptRecord, *, revealed: bool) -> dict[str, Any]:
    """The texts of the page; of what is private only to a reader."""
    found: dict[str, Any] = {"came": None, "envelope": None, "dingtalk": None, "fixture": None, "curl": None}
    found["kcat"] = kcat(console.kafka, kept.event.place) if revealed else None  # it names brokers and a user
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


def _place(at: str) -> Position | None:
    topic, _, rest = at.partition(":")
    partition, _, offset = rest.partition(":")
    if not topic or not all(part.isdecimal() and len(part) < 19 for part in (partition, offset)):
        return None
    return Position(topic, int(partition), int(offset))


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()  # an address may hold half a character
