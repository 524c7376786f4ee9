"""``dingbridge dlq``: a consumer's dead letters: list them, look at one, send them back, give one up."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dingbridge.replay.dead_letter_queue import DeadLetterQueue, ReplayPlan
    from dingbridge.replay.dead_letters import DeadLetterFilter

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

ConsumerName = Annotated[str, typer.Argument(help="The consumer, as address-sync or approval.")]
Place = Annotated[str, typer.Argument(help="Where it stands, as `list` prints it: partition/offset.")]
Events = Annotated[list[str] | None, typer.Option("--events", help="EventTypes, with commas.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", help="Keys, as corpid:userid, or the #… of the log.")
]
Errors = Annotated[list[str] | None, typer.Option("--error", help="Part of the error or of the reason.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Given up since: 2026-11-25T08:00:00+08:00, or 2h (ago)."),
]
Until = Annotated[str | None, typer.Option("--until", help="Given up before.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _filter(
    events: list[str] | None,
    keys: list[str] | None,
    errors: list[str] | None,
    since: str | None,
    until: str | None,
    resume: str | None = None,
) -> "DeadLetterFilter":
    from dingbridge.cli.terminal import listed, moment
    from dingbridge.replay.copying import begun_at
    from dingbridge.replay.dead_letters import DeadLetterFilter

    now = begun_at(resume) if resume is not None else None  # "2h" means what it meant when the run began
    after = moment(since, "--since", now) if since is not None else None
    before = moment(until, "--until", now) if until is not None else None
    return DeadLetterFilter(listed(events), listed(keys), tuple(errors or ()), after, before)


@app.command("list")
def list_dead_letters(
    consumer: ConsumerName,
    events: Events = None,
    key: Keys = None,
    error: Errors = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many; 0: all.")] = 100,
    all_: Annotated[bool, typer.Option("--all", help="Also those that were replayed or skipped.")] = False,
    as_json: AsJson = False,
) -> None:
    """The dead letters that wait, the oldest first, with the error and what the handler said.

    A table on a terminal, tab-separated in a pipe; with --json an object a line. Exit code 2: there is no
    such consumer; 1: Kafka does not answer.
    """
    wanted = _filter(events, key, error, since, until)
    _run(consumer, _list(_open(consumer), consumer, wanted, limit, all_, as_json))


@app.command()
def show(
    consumer: ConsumerName,
    place: Place,
    as_json: AsJson = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show private values, too.")] = False,
) -> None:
    """One dead letter with its frames, headers and value; private values are masked unless --reveal."""
    _run(consumer, _show(_open(consumer), _place(place), reveal, as_json))


@app.command()
def replay(
    consumer: ConsumerName,
    events: Events = None,
    key: Keys = None,
    error: Errors = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="At most so many matching ones; 0: all.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Yes = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were replayed or skipped before.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="REPLAY-ID", help="Go on with this run, which was interrupted."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy dead letters into the consumer's inbox: it tries them again, nobody else sees them.

    Counts, says so, asks on a terminal, then sends. Run again after an interruption, it sends the rest.
    """
    wanted = _filter(events, key, error, since, until, resume)
    try:
        _run(
            consumer, _replay(_open(consumer), consumer, wanted, limit, dry_run, yes, again, resume, as_json)
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def skip(consumer: ConsumerName, place: Place, yes: Yes = False) -> None:
    """Give a dead letter up for good. It stays in the topic, and `replay --again` still finds it."""
    _run(consumer, _skip(_open(consumer), _place(place), yes))


def _open(consumer: str) -> "DeadLetterQueue":
    from dingbridge.logging import configure_logging
    from dingbridge.replay.dead_letter_queue import DeadLetterQueue
    from dingbridge.settings import KafkaSettings

    settings: KafkaSettings = KafkaSettings.load()
    configure_logging(settings)  # to standard error: standard output is for the answer
    return DeadLetterQueue(settings, consumer)


def _run(consumer: str, work: Coroutine[Any, Any, None]) -> None:
    """Raises ``UnknownConsumer`` instead of ``TopicError`` for one that is not even installed here."""
    import asyncio

    from dingbridge.errors import TopicError
    from dingbridge.worker.registry import check_installed

    try:
        asyncio.run(work)
    except TopicError:
        check_installed(consumer)
        raise


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(f"{text!r} is no place of a dead letter; as 0/17", param_hint="PLACE")
    return int(partition), int(offset)


async def _list(
    opened: "DeadLetterQueue",
    consumer: str,
    wanted: "DeadLetterFilter",
    limit: int,
    all_: bool,
    as_json: bool,
) -> None:
    from contextlib import aclosing

    from dingbridge.cli.dlq_output import COLUMNS, as_object
    from dingbridge.cli.terminal import print_list, say
    from dingbridge.replay.dead_letters import DeadLetterFilter

    settled, more = 0, False
    rows: list[dict[str, Any]] = []
    async with opened as queue, aclosing(queue.dead_letters(wanted)) as dead_letters:
        async for found, by in dead_letters:
            if by is not None and not all_:
                settled += 1
            elif limit and len(rows) == limit:
                more = True
                break
            else:
                rows.append(as_object(found, by))
    print_list(COLUMNS, rows, as_json=as_json)
    if more:
        say(f"more than {limit}: --limit 0 lists all")
    if settled:
        say(f"{settled} more were replayed or skipped: --all lists them too")
    elif not rows:
        say(f"no dead letter of {consumer} waits" if wanted == DeadLetterFilter() else "none matches")


async def _show(opened: "DeadLetterQueue", place: tuple[int, int], reveal: bool, as_json: bool) -> None:
    from dingbridge.cli.dlq_output import print_whole

    async with opened as queue:
        found = await queue.find(*place)
        print_whole(found, queue.settled_by(found), reveal, as_json)


async def _replay(
    opened: "DeadLetterQueue",
    consumer: str,
    wanted: "DeadLetterFilter",
    limit: int,
    dry_run: bool,
    yes: bool,
    again: bool,
    resume: str | None,
    as_json: bool,
) -> None:
    from dingbridge.cli.terminal import confirmed, print_json, progress, say

    async with opened as queue:
        plan = await queue.plan(wanted, limit=limit, again=again, resume=resume)
        if not as_json:
            _print_plan(plan)
        if dry_run or not (plan.to_send or plan.noted):
            if as_json:
                print_json(_as_object(plan, 0))
            return
        if plan.to_send and not confirmed(f"Send {plan.to_send} record(s) to {consumer} once more?", yes):
            say("nothing was sent")
            raise typer.Exit(1)
        with progress(plan.to_send) as bar:
            try:
                await queue.replay(plan, wanted, bar.advance, limit=limit, again=again)
            except BaseException:
                say(
                    f"interrupted after {bar.done} of {plan.to_send}; to go on: the same command with "
                    f"--resume {plan.replay_id}"
                )
                raise
        if as_json:
            print_json(_as_object(plan, bar.done))
        else:
            print(f"sent       {bar.done}")


def _as_object(plan: "ReplayPlan", sent: int) -> dict[str, Any]:
    return {
        "replay_id": plan.replay_id,
        "resumed": plan.resumed,
        "dead_letters": dict(sorted(plan.by_type.items())),
        "copied_before": plan.noted,
        "left_out": plan.settled,
        "to_send": plan.to_send,
        "sent": sent,
    }


def _print_plan(plan: "ReplayPlan") -> None:
    for event_type, number in sorted(plan.by_type.items()):
        print(f"letters    {number}\t{event_type}")
    if plan.noted:
        print(f"copied     {plan.noted} before, by this run, which was interrupted")
    if plan.settled:
        print(f"left out   {plan.settled} that were replayed or skipped before")
    print(f"replay id  {plan.replay_id}{' (goes on)' if plan.resumed else ''}")
    print(f"to send    {plan.to_send}", flush=True)


async def _skip(opened: "DeadLetterQueue", place: tuple[int, int], yes: bool) -> None:
    from dingbridge.cli.terminal import confirmed, say

    async with opened as queue:
        found = await queue.find(*place)
        if not confirmed(f"Give up {found.place} ({found.event_type}) for good?", yes):
            say("nothing was changed")
            raise typer.Exit(1)
        await queue.skip(found)
        print(f"skipped    {found.place}: it is not offered again")
