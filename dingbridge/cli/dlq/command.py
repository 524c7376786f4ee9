"""The commands of ``dingbridge dlq``: list dead letters, count them by reason, look at one, send them back,
give them up."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

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
from dingbridge.cli.dlq.work import count_reasons, give_up, list_all, send_back, show_one
from dingbridge.errors import TopicError
from dingbridge.logging import configure_logging
from dingbridge.replay.dead_letter_queue import DeadLetterQueue
from dingbridge.replay.dead_letters import DeadLetterFilter
from dingbridge.settings import KafkaSettings
from dingbridge.worker.registry import check_installed

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

ConsumerName = Annotated[str, typer.Argument(help="The consumer, as address-sync or approval.")]
Place = Annotated[str, typer.Argument(help="Where it stands, as `list` prints it: partition/offset.")]
Places = Annotated[
    list[str] | None,
    typer.Argument(help="Where they stand, as `list` prints it: partition/offset.", show_default=""),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many matching ones; 0: all.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


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
    """The dead letters that wait, the oldest first, with the error and what the handler said.

    A table on a terminal, tab-separated in a pipe; with --json an object a line. Exit code 2: there is no
    such consumer; 1: Kafka does not answer.
    """
    wanted = dead_letter_filter(events, key, error, error_is, since, until)
    _run(consumer, list_all(_open(consumer), consumer, wanted, limit, all_, as_json))


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
    _run(consumer, count_reasons(_open(consumer), consumer, wanted, as_json))


@app.command()
def show(
    consumer: ConsumerName,
    place: Place,
    as_json: AsJson = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show private values, too.")] = False,
) -> None:
    """One dead letter with its frames, headers and value; private values are masked unless --reveal."""
    _run(consumer, show_one(_open(consumer), place_of(place, "PLACE"), reveal, as_json))


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
    """Copy dead letters into the consumer's inbox: it tries them again, nobody else sees them.

    Counts, says so, asks on a terminal, then sends. Run again after an interruption, it sends the rest; what
    two runs send is applied once.
    """
    wanted = dead_letter_filter(events, key, error, error_is, since, until, letter)
    try:
        _run(
            consumer,
            send_back(_open(consumer), consumer, wanted, limit, dry_run, yes, again, as_json),
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


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

    Exit code 2: it was not said which; 1: those that were named are settled already, or are not there.
    """
    named = [*(places or ()), *(letter or ())]
    wanted = dead_letter_filter(events, key, error, error_is, since, until, named)
    if all_ == (wanted != DeadLetterFilter()):
        raise typer.BadParameter("say which: places, filters as --error, or --all without them")
    _run(consumer, give_up(_open(consumer), consumer, wanted, limit, dry_run, yes, as_json))


def _open(consumer: str) -> DeadLetterQueue:
    settings: KafkaSettings = KafkaSettings.load()
    configure_logging(settings)  # to standard error: standard output is for the answer
    return DeadLetterQueue(settings, consumer)


def _run(consumer: str, work: Coroutine[Any, Any, None]) -> None:
    """Raises ``UnknownConsumer`` instead of ``TopicError`` for one that is not even installed here."""
    try:
        asyncio.run(work)
    except TopicError:
        check_installed(consumer)
        raise
