"""``dingbridge forward``: the outcome of each delivery."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

import typer

from dingbridge.cli.terminal import AsJson, listed, moment, print_list, say
from dingbridge.consumers.forward.consumer import PREFIX
from dingbridge.consumers.forward.deliveries import OUTCOMES, TOPIC, Delivery, read_delivery, shown_answer
from dingbridge.errors import TopicError
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topic_policy import control_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.logging import configure_logging
from dingbridge.settings import KafkaSettings

COLUMNS = ("at", "system", "event", "attempt", "outcome", "status", "duration_ms", "words", "answer")

app = typer.Typer(no_args_is_help=True)


@app.callback()
def command() -> None:
    """Which system got which event, when, by which attempt, and what it answered."""


@app.command("log")
def show_log(
    systems: Annotated[list[str] | None, typer.Option("--system", help="Systems, with commas.")] = None,
    event: Annotated[str | None, typer.Option("--event", help="The event's id, in full.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Since 2026-11-25T08:00:00+08:00, or 2h (ago).")
    ] = None,
    outcomes: Annotated[
        list[str] | None, typer.Option("--outcome", help=f"With commas: {', '.join(OUTCOMES)}.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="The latest so many that match; 0: all.")
    ] = 100,
    as_json: AsJson = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the systems' answers, which may be private.")
    ] = False,
) -> None:
    """One line for each attempt to deliver an event to a system, the oldest first.

    A table on a terminal, tab-separated in a pipe; with --json an object a line. Exit code 1: Kafka does not
    answer, or nothing was ever delivered.
    """
    wanted = listed(outcomes)
    for outcome in wanted:
        if outcome not in OUTCOMES:
            raise typer.BadParameter(
                f"{outcome!r} is none; one of {', '.join(OUTCOMES)}", param_hint="--outcome"
            )
    names = {system if system.startswith(PREFIX) else PREFIX + system for system in listed(systems)}
    begin = moment(since, "--since") if since is not None else None

    def matches(delivery: Delivery) -> bool:
        return (
            (not names or delivery.consumer in names)
            and (event is None or delivery.event_id == event)
            and (not wanted or delivery.outcome in wanted)
            and (begin is None or delivery.at >= begin)
        )

    settings = KafkaSettings.load()
    configure_logging(settings)  # to standard error: standard output is for the answer

    known: set[str] = set()

    async def latest() -> tuple[list[Delivery], int]:
        found: deque[Delivery] = deque(maxlen=limit or None)
        count = 0
        async with aclosing(_deliveries(settings, begin)) as deliveries:
            async for delivery in deliveries:
                known.add(delivery.consumer.removeprefix(PREFIX))
                if matches(delivery):
                    count += 1
                    found.append(delivery)
        # they stand in the order in which Kafka took them
        return sorted(found, key=lambda delivery: delivery.at), count

    shown, count = asyncio.run(latest())
    print_list(COLUMNS, [_as_object(delivery, reveal=reveal) for delivery in shown], as_json=as_json)
    if not count:
        say(f"none matches; there are deliveries to: {', '.join(sorted(known)) or 'no system'}")
    if count > len(shown):
        say(f"{count - len(shown)} older ones match too: --limit 0 lists all")


async def _deliveries(settings: KafkaSettings, since: datetime | None) -> AsyncGenerator[Delivery, None]:
    """Those that were recorded since. Raises ``TopicError`` where there is no such topic."""
    topic = control_topic(settings, TOPIC)
    counts = await existing_topics(settings, [topic])
    if topic not in counts:
        raise TopicError(f"there is no topic {topic}: forward makes it when it delivers its first event")
    async with TopicReader(settings) as reader:
        spans = await reader.spans({topic: counts[topic]})
        if since is not None:
            first = await reader.first_since(spans, int(since.timestamp() * 1000))
            # where nothing is as young, its end: there is nothing to read
            begins = {p: at[0] if (at := first[p]) is not None else span.end for p, span in spans.items()}
            spans = {p: Span(begins[p], span.end) for p, span in spans.items()}
        async with aclosing(reader.read(spans)) as records:
            async for record in records:
                if (delivery := read_delivery(record.value)) is not None:
                    yield delivery


def _as_object(delivery: Delivery, *, reveal: bool) -> dict[str, Any]:
    answer = delivery.answer
    return {
        "at": delivery.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "system": delivery.consumer.removeprefix(PREFIX),
        "event": delivery.event_id,
        "source": delivery.source,
        "type": delivery.event_type,
        "place": delivery.place._asdict(),
        "replay_id": delivery.replay_id or None,
        "attempt": delivery.attempt,
        "outcome": delivery.outcome,
        "status": delivery.status,
        "duration_ms": delivery.duration_ms,
        "words": delivery.words,
        "answer": None if answer is None else shown_answer(answer, reveal=reveal),
    }
