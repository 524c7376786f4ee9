"""The commands of ``dingbridge dlq``: list dead letters, count them by reason, look at one, send them back,
give them up."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Annotated, Any, Final

import typer

from dingbridge.cli.dlq.output import (
    COLUMNS,
    REASON_COLUMNS,
    Verb,
    as_object,
    print_selection,
    print_whole,
    reason_as_object,
    selection_as_object,
)
from dingbridge.cli.dlq.selection import (
    Errors,
    Events,
    Keys,
    Letters,
    Since,
    Until,
    WholeErrors,
    dead_letter_filter,
    place_of,
)
from dingbridge.cli.terminal import (
    AsJson,
    DryRun,
    Reveal,
    Yes,
    confirmed,
    listing,
    print_json,
    print_list,
    progress,
    say,
)
from dingbridge.errors import BridgeError, TopicError
from dingbridge.logging import configure_logging
from dingbridge.replay.dead_letter_queue import DeadLetterQueue, Selection
from dingbridge.replay.dead_letters import DeadLetterFilter
from dingbridge.settings import KafkaSettings
from dingbridge.worker.registry import check_installed

app = typer.Typer(no_args_is_help=True)

ConsumerName = Annotated[str, typer.Argument(help="The consumer, as address-sync or approval.")]
Place = Annotated[str, typer.Argument(help="Where it stands, as `list` prints it: partition/offset.")]
Places = Annotated[
    list[str] | None,
    typer.Argument(help="Where they stand, as `list` prints it: partition/offset.", show_default=""),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many matching ones; 0: all.")]

QUESTIONS: Final[dict[Verb, str]] = {
    "send": "Send {count} record(s) to {consumer} once more?",
    "skip": "Give up {count} dead letter(s) of {consumer} for good?",
}
DONE: Final[dict[Verb, str]] = {
    "send": "sent       {count}",
    "skip": "skipped    {count}: not offered again",
}


@app.command("list")
def list_dead_letters(
    consumer: ConsumerName,
    events: Events = None,
    key: Keys = None,
    error: Errors = None,
    error_is: WholeErrors = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many; 0: all.")] = 100,
    all_: Annotated[bool, typer.Option("--all", help="Also those that were replayed or skipped.")] = False,
    as_json: AsJson = False,
) -> None:
    """The dead letters that wait, the oldest first, with the error and the handler's words.

    A table on a terminal, tab-separated in a pipe; with --json an object a line. Exit code 2: there is no
    such consumer; 1: Kafka does not answer.
    """
    wanted = dead_letter_filter(events, key, error, error_is, since, until)

    async def work(queue: DeadLetterQueue) -> None:
        shown = settled = 0
        more = False
        with listing(COLUMNS, as_json=as_json) as add:
            async with aclosing(queue.letters(wanted)) as letters:
                async for found, by in letters:
                    if by is not None and not all_:
                        settled += 1
                    elif limit and shown == limit:
                        more = True
                    else:
                        shown += 1
                        add(as_object(found, by))
        if more:
            say(f"more than {limit}: --limit 0 lists all")
        if settled:
            say(f"{settled} more were replayed or skipped: --all lists them too")
        elif not shown:
            _print_none(consumer, wanted)

    _run(consumer, work)


@app.command()
def reasons(
    consumer: ConsumerName,
    events: Events = None,
    key: Keys = None,
    error: Errors = None,
    error_is: WholeErrors = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Count those that wait by error (type and place) and EventType, the largest number first."""
    wanted = dead_letter_filter(events, key, error, error_is, since, until)

    async def work(queue: DeadLetterQueue) -> None:
        groups = await queue.groups(wanted)
        print_list(REASON_COLUMNS, map(reason_as_object, groups), as_json=as_json)
        if not groups:
            _print_none(consumer, wanted)

    _run(consumer, work)


@app.command()
def show(
    consumer: ConsumerName,
    place: Place,
    as_json: AsJson = False,
    reveal: Reveal = False,
) -> None:
    """One dead letter with its frames, headers and value; private values are masked unless --reveal."""
    at = place_of(place, "PLACE")

    async def work(queue: DeadLetterQueue) -> None:
        print_whole(*await queue.find(*at), reveal, as_json)

    _run(consumer, work)


@app.command()
def replay(
    consumer: ConsumerName,
    letter: Letters = None,
    events: Events = None,
    key: Keys = None,
    error: Errors = None,
    error_is: WholeErrors = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 0,
    dry_run: DryRun = False,
    yes: Yes = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were replayed or skipped before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy dead letters into the consumer's inbox. Only that consumer reads the inbox.

    It prints the count, asks on a terminal, then sends. Run again after an interruption, it sends the rest; a
    letter that two runs send is applied once.
    """
    wanted = dead_letter_filter(events, key, error, error_is, since, until, letter)
    _settle("send", consumer, wanted, limit=limit, again=again, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command()
def skip(
    consumer: ConsumerName,
    places: Places = None,
    letter: Letters = None,
    events: Events = None,
    key: Keys = None,
    error: Errors = None,
    error_is: WholeErrors = None,
    since: Since = None,
    until: Until = None,
    all_: Annotated[bool, typer.Option("--all", help="All that wait.")] = False,
    limit: Limit = 0,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give dead letters up for good. They stay in the topic, and `replay --again` still finds them.

    Exit code 2: none are named; 1: those that are named are settled already, or are not there.
    """
    named = [*(places or ()), *(letter or ())]
    wanted = dead_letter_filter(events, key, error, error_is, since, until, named)
    if all_ == (wanted != DeadLetterFilter()):
        raise typer.BadParameter("say which: places, filters as --error, or --all without them")

    _settle("skip", consumer, wanted, limit=limit, dry_run=dry_run, yes=yes, as_json=as_json)


def _settle(
    verb: Verb,
    consumer: str,
    wanted: DeadLetterFilter,
    *,
    limit: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    again: bool = False,
) -> None:
    """Say what is selected, ask, and send or skip that. Raises ``typer.Exit`` for a no."""

    async def work(queue: DeadLetterQueue) -> None:
        selected = await queue.select(wanted, limit=limit, again=again, skip=verb == "skip")
        count, done = selected.count, 0
        if not as_json:
            print_selection(selected, verb)
        missing = len(wanted.places) - count - selected.settled
        if missing > 0 and not limit:
            say(f"{missing} of those that were named are no dead letters (any more), or do not match")
        if count and not dry_run:
            done = await _asked_and_done(queue, selected, verb, consumer, yes)
        if verb == "skip" and wanted.places and not count:
            raise BridgeError(
                f"nothing to skip: {selected.settled} settled already, the others are no dead letters of "
                f"{consumer} or do not match; `dingbridge dlq list {consumer} --all` prints their places"
            )
        if as_json:
            print_json(selection_as_object(selected, done, verb))
        elif not dry_run:
            print(DONE[verb].format(count=done))

    try:
        _run(consumer, work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _asked_and_done(
    queue: DeadLetterQueue, selected: Selection, verb: Verb, consumer: str, yes: bool
) -> int:
    """How many were sent or skipped. Raises ``typer.Exit`` for a no."""
    count = selected.count
    if not confirmed(QUESTIONS[verb].format(count=count, consumer=consumer), yes):
        say(f"nothing was {'sent' if verb == 'send' else 'changed'}")
        raise typer.Exit(1)
    with progress(count, "sent" if verb == "send" else "skipped") as bar:
        try:
            await (queue.replay if verb == "send" else queue.skip)(selected, bar.advance)
        except BaseException:
            say(f"interrupted after {bar.done} of {count}; to go on: the same command")
            raise
    return bar.done


def _print_none(consumer: str, wanted: DeadLetterFilter) -> None:
    say(f"no dead letter of {consumer} waits" if wanted == DeadLetterFilter() else "none matches")


def _run(consumer: str, work: Callable[[DeadLetterQueue], Coroutine[Any, Any, None]]) -> None:
    """Raises ``UnknownConsumer`` instead of ``TopicError`` for one that is not even installed here."""
    settings = KafkaSettings.load()
    configure_logging(settings)  # to standard error: standard output is for the answer

    async def opened() -> None:
        async with DeadLetterQueue(settings, consumer) as queue:
            await work(queue)

    try:
        asyncio.run(opened())
    except TopicError:
        check_installed(consumer)
        raise
