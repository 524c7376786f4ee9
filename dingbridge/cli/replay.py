"""``dingbridge replay``: a range of time, or single records, once more to one consumer."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from dingbridge.cli.terminal import (
    AsJson,
    DryRun,
    Yes,
    confirmed,
    listed,
    moment,
    print_json,
    progress,
    say,
)
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import topics_read
from dingbridge.logging import configure_logging
from dingbridge.replay.time_range import Range, RangePlan, RangeReplay
from dingbridge.settings import KafkaSettings
from dingbridge.worker.context import Position
from dingbridge.worker.registry import load_consumer


def command(
    consumer: Annotated[str, typer.Argument(help="The consumer, as address-sync or approval.")],
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="Published since: 2026-11-25T08:00:00+08:00, or 2h (ago).",
            show_default="needed without --record",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Published before.", show_default="the run's begin")
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--events", help="EventTypes or control topics, with commas.", show_default="all that it reads"
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Only this key, as corpid:userid, or the #… of the lists.")
    ] = None,
    record: Annotated[
        list[str] | None,
        typer.Option(
            "--record",
            metavar="TOPIC:PARTITION:OFFSET",
            help="This record alone, whenever it was published; may be repeated.",
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    run: Annotated[
        str,
        typer.Option("--run", metavar="NAME", help="Another name, another replay of the same records."),
    ] = "",
    skip_deleted: Annotated[
        bool, typer.Option("--skip-deleted", help="Copy what is left of a range that retention has reached.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the records of a range of time, or those named by --record, into the consumer's inbox: it applies
    them again, nobody else does.

    It prints the count, asks on a terminal, then sends. The same command again, as after an interruption,
    sends all again, and the consumer passes over what it has applied; --run makes another replay of it.
    Exit code 2: arguments; 1: Kafka no longer has the range, or does not answer.
    """
    cls = load_consumer(consumer)
    reads = [*cls.topics, *cls.control_topics]
    wanted = listed(events) or tuple(reads)
    if strangers := [event_type for event_type in wanted if event_type not in reads]:
        raise typer.BadParameter(
            f"{consumer} does not read {', '.join(strangers)}; it reads {', '.join(reads)}",
            param_hint="--events",
        )
    records = _places(record or ())
    if bool(records) == (since is not None) or (records and (until or events or key)):
        raise typer.BadParameter(
            "say --since (with --until, --events, --key), or --record alone", param_hint="--since"
        )
    now = datetime.now(UTC).replace(microsecond=0)  # so that the printed time is the whole of it
    begin = moment(since, "--since", now) if since is not None else datetime.fromtimestamp(0, UTC)
    end = moment(until, "--until", now) if until is not None else None
    if end is not None and end <= begin:
        raise typer.BadParameter("--until must be later than --since", param_hint="--until")
    settings = KafkaSettings.load()
    configure_logging(settings)
    topics = topics_read(
        settings,
        [name for name in wanted if name in cls.topics],
        [name for name in wanted if name in cls.control_topics],
    )
    if strangers := sorted({place.topic for place in records} - set(topics)):
        raise typer.BadParameter(
            f"{consumer} does not read {', '.join(strangers)}; it reads {', '.join(topics)}",
            param_hint="--record",
        )
    asked = Range(
        consumer,
        tuple(sorted({place.topic for place in records}) or topics),
        from_ms=round(begin.timestamp() * 1000),
        to_ms=None if end is None else round(end.timestamp() * 1000),
        key=key,
        records=records,
        run=run,
    )

    async def work() -> None:
        async with TopicReader(settings) as reader:
            replay = RangeReplay(settings, reader, asked)
            say("counting …")
            plan = await replay.plan(skip_deleted=skip_deleted)
            for topic in plan.missing:
                say(f"there is no topic {topic}: nothing was published to it yet")
            if not as_json:
                _print_plan(plan, asked)
            sent = 0
            if plan.to_send and not dry_run:
                sent = await _send(replay, plan, asked, yes)
                if not as_json:
                    print(f"sent       {sent}")
                say(f"`dingbridge consume {consumer}` applies them, beside what is new")
                if cls.uses_database:
                    say(
                        "it passes over what it has applied under this replay id; --run NAME makes another id"
                    )
            if as_json:
                print_json(_as_object(plan, asked, sent))

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _send(replay: RangeReplay, plan: RangePlan, asked: Range, yes: bool) -> int:
    """Ask, and send; how many. Raises ``typer.Exit`` for a no."""
    if not confirmed(f"Send {plan.to_send} record(s) to {asked.consumer} once more?", yes):
        say("nothing was sent")
        raise typer.Exit(1)
    with progress(plan.to_send) as bar:
        try:
            await replay.send(bar.advance)
        except BaseException:
            # a time such as 2h would mean another range, under another id
            times = f" with --since {_text(asked.from_ms)}" if not asked.records else ""
            times += f" --until {_text(asked.to_ms)}" if asked.to_ms is not None else ""
            say(f"interrupted after {bar.done} of {plan.to_send}; run the same command again{times}")
            raise
    return bar.done


def _places(texts: Iterable[str]) -> frozenset[Position]:
    found = []
    for text in texts:
        topic, _, rest = text.partition(":")
        partition, _, offset = rest.partition(":")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            raise typer.BadParameter(
                f"{text!r} is no record; as dingtalk.user_add_org:0:1234", param_hint="--record"
            )
        found.append(Position(topic, int(partition), int(offset)))
    return frozenset(found)


def _text(epoch_ms: int) -> str:
    """UTC, to the millisecond."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def _print_plan(plan: RangePlan, asked: Range) -> None:
    if not asked.records:
        until = "now" if asked.to_ms is None else _text(asked.to_ms)
        print(f"range      {_text(asked.from_ms)} to {until} (UTC, when published)")
    for topic, records in sorted(plan.by_topic.items()):
        print(f"records    {records}\t{topic}")
    print(f"replay id  {asked.replay_id}")
    print(f"to send    {plan.to_send}", flush=True)


def _as_object(plan: RangePlan, asked: Range, sent: int) -> dict[str, Any]:
    return {
        "replay_id": asked.replay_id,
        "since": _text(asked.from_ms),
        "until": None if asked.to_ms is None else _text(asked.to_ms),
        "records": dict(sorted(plan.by_topic.items())),
        "missing_topics": plan.missing,
        "to_send": plan.to_send,
        "sent": sent,
    }
