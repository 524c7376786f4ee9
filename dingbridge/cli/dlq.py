"""``dingbridge dlq``: a consumer's dead letters: list them, look at one, send them back, give one up."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dingbridge.replay.dead_letter_queue import Freed, ReplayPlan
    from dingbridge.replay.dead_letters import LetterFilter
    from dingbridge.settings import ConsumerSettings

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

ConsumerName = Annotated[str, typer.Argument(help="The consumer, as address-sync or approval.")]
Place = Annotated[str, typer.Argument(help="The letter's place, as `list` prints it: partition/offset.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="EventTypes, with commas.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", help="Keys, as corpid:userid, or the #… that `list` prints.")
]
Errors = Annotated[list[str] | None, typer.Option("--error", help="Part of the error's type or place.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Buried since: 2026-11-25T08:00:00+08:00, or 2h (ago)."),
]
Until = Annotated[str | None, typer.Option("--until", help="Buried before.")]
Blocks = Annotated[list[str] | None, typer.Option("--blocking-id", help="Only of these blocked keys.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show private values, too.")]

WAIT_S = 60


def _filter(
    types: list[str] | None,
    keys: list[str] | None,
    errors: list[str] | None,
    since: str | None,
    until: str | None,
    blocks: list[str] | None,
    resume: str | None = None,
) -> "LetterFilter":
    from dingbridge.cli.terminal import listed, moment
    from dingbridge.replay.copying import begun_at
    from dingbridge.replay.dead_letters import LetterFilter

    now = begun_at(resume) if resume is not None else None  # "2h" means what it meant when the run began
    after = moment(since, "--since", now) if since is not None else None
    before = moment(until, "--until", now) if until is not None else None
    return LetterFilter(listed(types), listed(keys), tuple(errors or ()), after, before, listed(blocks))


@app.command("list")
def list_letters(
    consumer: ConsumerName,
    types: Types = None,
    key: Keys = None,
    error: Errors = None,
    since: Since = None,
    until: Until = None,
    blocking_id: Blocks = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many; 0: all.")] = 100,
    all_: Annotated[bool, typer.Option("--all", help="Also those that were replayed or skipped.")] = False,
    as_json: AsJson = False,
    reveal: Reveal = False,
) -> None:
    """The dead letters that wait, the oldest first: place, EventType, key, error, attempts, when, block.

    A table on a terminal, tab-separated in a pipe; with --json an object a line. Exit code 1: there is no
    such consumer, or Kafka does not answer.
    """
    import asyncio

    wanted = _filter(types, key, error, since, until, blocking_id)
    asyncio.run(_list(_settings(), consumer, wanted, limit, all_, as_json, reveal))


@app.command()
def show(consumer: ConsumerName, place: Place, as_json: AsJson = False, reveal: Reveal = False) -> None:
    """One dead letter with its headers and value; private values are masked unless --reveal."""
    import asyncio

    asyncio.run(_show(_settings(), consumer, _place(place), reveal, as_json))


@app.command()
def replay(
    consumer: ConsumerName,
    types: Types = None,
    key: Keys = None,
    error: Errors = None,
    since: Since = None,
    until: Until = None,
    blocking_id: Blocks = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="At most so many matching ones; 0: all.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were replayed or skipped before.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="REPLAY-ID", help="Go on with this run, which was interrupted."),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="s to wait for blocked keys to be free again.")
    ] = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Copy dead letters into the consumer's inbox: it tries them again, nobody else sees them.

    Counts, says so, asks on a terminal, then sends. Run again after an interruption, it sends the rest. Of a
    blocked key (`on_dead_letter = "block"`) all letters go back, in order, also those that no filter names;
    when the last one is applied the key goes on. Exit code 1: a letter of a blocked key failed again.
    """
    import asyncio

    wanted = _filter(types, key, error, since, until, blocking_id, resume)
    try:
        asyncio.run(_replay(_settings(), consumer, wanted, limit, dry_run, yes, again, resume, wait, as_json))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def skip(
    consumer: ConsumerName,
    place: Place,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give a dead letter up for good; of a blocked key also those before it. They stay in the topic.

    For a letter that can never be handled: a blocked key goes on behind it. `replay --again` still finds a
    letter without a block.
    """
    import asyncio

    asyncio.run(_skip(_settings(), consumer, _place(place), yes))


def _settings() -> "ConsumerSettings":
    from dingbridge.logging import configure_logging
    from dingbridge.settings import ConsumerSettings

    settings = ConsumerSettings.load()
    configure_logging(settings)  # to standard error: standard output is for the answer
    return settings


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(f"{text!r} is no place of a dead letter; as 0/17", param_hint="PLACE")
    return int(partition), int(offset)


async def _list(
    settings: "ConsumerSettings",
    consumer: str,
    wanted: "LetterFilter",
    limit: int,
    all_: bool,
    as_json: bool,
    reveal: bool,
) -> None:
    from contextlib import aclosing

    from dingbridge.cli.dlq_output import COLUMNS, as_object, cells, draw
    from dingbridge.cli.terminal import print_json, say
    from dingbridge.replay.dead_letter_queue import LetterBox

    shown, settled = 0, 0
    rows = []
    drawn = not as_json and sys.stdout.isatty()
    if not as_json and not drawn:
        print(*COLUMNS, sep="\t")
    async with LetterBox(settings, consumer) as box, aclosing(box.letters(wanted)) as letters:
        async for letter, by in letters:
            if by is not None and not all_:
                settled += 1
                continue
            if limit and shown == limit:
                say(f"more than {limit}: --limit 0 lists all")
                break
            shown += 1
            if as_json:
                print_json(as_object(letter, by, reveal))
            elif drawn:
                rows.append(cells(letter, by, reveal))
            else:
                print(*cells(letter, by, reveal), sep="\t")
            if letter.blocking_id is not None and box.blocks.unknown is not None:
                say(f"whether {letter.place} was replayed is not known: {box.blocks.unknown}")
    if drawn:
        draw(rows)
    if settled:
        say(f"{settled} more were replayed or skipped: --all lists them too")
    elif not shown:
        say(f"no dead letter of {consumer} waits" if wanted == type(wanted)() else "none matches")


async def _show(
    settings: "ConsumerSettings", consumer: str, place: tuple[int, int], reveal: bool, as_json: bool
) -> None:
    from dingbridge.cli.dlq_output import print_whole
    from dingbridge.replay.dead_letter_queue import LetterBox

    async with LetterBox(settings, consumer) as box:
        letter = await box.find(*place)
        print_whole(letter, box.settled_by(letter), reveal, as_json)


async def _replay(
    settings: "ConsumerSettings",
    consumer: str,
    wanted: "LetterFilter",
    limit: int,
    dry_run: bool,
    yes: bool,
    again: bool,
    resume: str | None,
    wait_s: float,
    as_json: bool,
) -> None:
    from dingbridge.cli.terminal import confirmed, print_json, progress, say
    from dingbridge.replay.dead_letter_queue import Freed, LetterBox

    async with LetterBox(settings, consumer) as box:
        plan = await box.plan(wanted, limit=limit, again=again, resume=resume)
        if not as_json:
            _print_plan(plan)
        if dry_run or not (plan.to_send or plan.noted):
            if as_json:
                print_json(_as_object(plan, 0, Freed()))
            return
        if plan.to_send and not confirmed(f"Send {plan.to_send} record(s) to {consumer} once more?", yes):
            say("nothing was sent")
            raise typer.Exit(1)
        with progress(plan.to_send) as bar:
            try:
                freed = await box.replay(plan, wanted, bar.advance, limit=limit, again=again, wait_s=wait_s)
            except BaseException:
                say(
                    f"interrupted after {bar.done} of {plan.to_send}; to go on: the same command with "
                    f"--resume {plan.replay_id}"
                )
                raise
        if as_json:
            print_json(_as_object(plan, bar.done, freed))
        else:
            print(f"sent       {bar.done}")
        _say_freed(freed, consumer, as_json)


def _as_object(plan: "ReplayPlan", sent: int, freed: "Freed") -> dict[str, Any]:
    return {
        "replay_id": plan.replay_id,
        "resumed": plan.resumed,
        "letters": dict(sorted(plan.by_type.items())),
        "blocked": plan.blocked,
        "copied_before": plan.noted,
        "left_out": plan.settled,
        "to_send": plan.to_send,
        "sent": sent,
        "freed": freed.freed,
        "waiting": [row.blocking_id for row in freed.waiting],
        "failed": [row.blocking_id for row in freed.failed],
    }


def _print_plan(plan: "ReplayPlan") -> None:
    for event_type, letters in sorted(plan.by_type.items()):
        print(f"letters    {letters}\t{event_type}")
    if plan.blocked:
        print(
            f"blocked    {len(plan.blocked)} key(s), with all of their letters: {sum(plan.blocked.values())}"
        )
    if plan.noted:
        print(f"copied     {plan.noted} before, by this run, which was interrupted")
    if plan.settled:
        print(f"left out   {plan.settled} that were replayed or skipped before")
    print(f"replay id  {plan.replay_id}{' (goes on)' if plan.resumed else ''}")
    print(f"to send    {plan.to_send}", flush=True)


def _say_freed(freed: "Freed", consumer: str, as_json: bool) -> None:
    from dingbridge.cli.terminal import say
    from dingbridge.worker.delivery import hash_key

    if freed.freed and not as_json:
        print(f"freed      {freed.freed} key(s) go on")
    for row in freed.waiting:
        say(
            f"key #{hash_key(row.key)} is still blocked: its letters are in the inbox, and free it when "
            f"`dingbridge consume {consumer}` has applied them"
        )
    for row in freed.failed:
        say(
            f"key #{hash_key(row.key)} stays blocked: a letter failed again ({row.reason}); mend it and "
            f"replay once more, or give the letter up with `dingbridge dlq skip {consumer}`"
        )
    if freed.failed:
        raise typer.Exit(1)


async def _skip(settings: "ConsumerSettings", consumer: str, place: tuple[int, int], yes: bool) -> None:
    from dingbridge.cli.terminal import confirmed, say
    from dingbridge.replay.dead_letter_queue import LetterBox

    async with LetterBox(settings, consumer) as box:
        letter = await box.find(*place)
        before = " and all of its key before it" if letter.blocking_id is not None else ""
        if not confirmed(f"Give up {letter.place} ({letter.event_type}){before} for good?", yes):
            say("nothing was changed")
            raise typer.Exit(1)
        print(f"skipped    {letter.place}: {await box.skip(letter)}")
