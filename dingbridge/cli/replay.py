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
from dingbridge.replay.copying import begun_at
from dingbridge.replay.time_range import Range, RangePlan, RangeReplay, moment_text
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
    again: Annotated[
        bool, typer.Option("--again", help="Under a new replay id, though this was replayed before.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="REPLAY-ID", help="Go on with this run, which was interrupted."),
    ] = None,
    skip_deleted: Annotated[
        bool, typer.Option("--skip-deleted", help="Copy what is left of a range that retention has reached.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the records of a range of time, or those named by --record, into the consumer's inbox: it applies
    them again, nobody else does.

    It prints the count, asks on a terminal, then sends. The same command again goes on with an interrupted
    run, without doubling; with a time such as 2h it needs --resume for that. Exit code 2: arguments; 1: Kafka
    no longer has the range, or does not answer.
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
    # "2h" means the same when the run is resumed, and a run's id knows whole seconds
    now = begun_at(resume) if resume is not None else datetime.now(UTC).replace(microsecond=0)
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
        from_ms=int(begin.timestamp() * 1000),
        to_ms=None if end is None else int(end.timestamp() * 1000),
        key=key,
        begun=now,
        records=records,
    )

    async def work() -> None:
        async with TopicReader(settings) as reader:
            run = RangeReplay(settings, reader, asked)
            say("counting …")
            plan = await run.plan(resume=resume, again=again, skip_deleted=skip_deleted)
            for topic in plan.missing:
                say(f"there is no topic {topic}: nothing was published to it yet")
            if not as_json:
                _print_plan(plan, asked)
            if plan.resumed and not plan.to_send:
                after = f"; what was published after it: --since {moment_text(plan.to_ms)}"
                say(
                    "this run is complete. --again sends all once more under a new id"
                    + ("" if asked.records else after)
                )
            sent = 0
            if plan.to_send and not dry_run:
                sent = await _send(run, plan, consumer, yes)
                if not as_json:
                    print(f"sent       {sent}")
                say(f"`dingbridge consume {consumer}` applies them, beside what is new")
            if as_json:
                print_json(_as_object(plan, sent))

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _send(run: RangeReplay, plan: RangePlan, consumer: str, yes: bool) -> int:
    """Ask, and send; how many. Raises ``typer.Exit`` for a no."""
    if not confirmed(f"Send {plan.to_send} record(s) to {consumer} once more?", yes):
        say("nothing was sent")
        raise typer.Exit(1)
    with progress(plan.to_send) as bar:
        try:
            return await run.send(plan, bar.advance)
        except BaseException:
            say(
                f"interrupted after {bar.done} of {plan.to_send}; to go on: the same command with "
                f"--resume {plan.replay_id}"
            )
            raise


def _places(texts: Iterable[str]) -> tuple[Position, ...]:
    found = []
    for text in texts:
        topic, _, rest = text.partition(":")
        partition, _, offset = rest.partition(":")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            raise typer.BadParameter(
                f"{text!r} is no record; as dingtalk.user_add_org:0:1234", param_hint="--record"
            )
        found.append(Position(topic, int(partition), int(offset)))
    return tuple(dict.fromkeys(found))


def _print_plan(plan: RangePlan, asked: Range) -> None:
    if not asked.records:
        print(f"range      {moment_text(plan.from_ms)} to {moment_text(plan.to_ms)} (UTC, when published)")
    for topic, records in sorted(plan.by_topic.items()):
        print(f"records    {records}\t{topic}")
    print(f"replay id  {plan.replay_id}{' (goes on)' if plan.resumed else ''}")
    if plan.done:
        print(f"copied     {plan.done} before, by this run")
    print(f"to send    {plan.to_send}", flush=True)


def _as_object(plan: RangePlan, sent: int) -> dict[str, Any]:
    return {
        "replay_id": plan.replay_id,
        "resumed": plan.resumed,
        "since": moment_text(plan.from_ms),
        "until": moment_text(plan.to_ms),
        "records": dict(sorted(plan.by_topic.items())),
        "missing_topics": plan.missing,
        "copied_before": plan.done,
        "to_send": plan.to_send,
        "sent": sent,
    }
