"""What the commands of ``dingbridge dlq`` do, on a queue that is not entered yet."""

import typer

from dingbridge.cli.dlq.output import (
    COLUMNS,
    REASON_COLUMNS,
    as_object,
    print_selection,
    print_whole,
    reason_as_object,
    selection_as_object,
)
from dingbridge.cli.terminal import confirmed, print_json, print_list, progress, say
from dingbridge.errors import BridgeError
from dingbridge.replay.dead_letter_queue import DeadLetterQueue, Selection
from dingbridge.replay.dead_letters import DeadLetterFilter


async def list_all(
    opened: DeadLetterQueue, consumer: str, wanted: DeadLetterFilter, limit: int, all_: bool, as_json: bool
) -> None:
    """Print those that match, with ``all_`` the settled ones too."""
    async with opened as queue:
        selected = await queue.select(wanted, limit=limit, again=all_)
    rows = [as_object(found, by) for found, by in selected.found]
    print_list(COLUMNS, rows, as_json=as_json)
    if selected.more:
        say(f"more than {limit}: --limit 0 lists all")
    if selected.settled:
        say(f"{selected.settled} more were replayed or skipped: --all lists them too")
    elif not rows:
        _say_none(consumer, wanted)


async def count_reasons(
    opened: DeadLetterQueue, consumer: str, wanted: DeadLetterFilter, as_json: bool
) -> None:
    """Print how many wait for which reason."""
    async with opened as queue:
        groups = await queue.groups(wanted)
    print_list(REASON_COLUMNS, map(reason_as_object, groups), as_json=as_json)
    if not groups:
        _say_none(consumer, wanted)


def _say_none(consumer: str, wanted: DeadLetterFilter) -> None:
    say(f"no dead letter of {consumer} waits" if wanted == DeadLetterFilter() else "none matches")


async def show_one(opened: DeadLetterQueue, place: tuple[int, int], reveal: bool, as_json: bool) -> None:
    """Print the one at ``place``."""
    async with opened as queue:
        print_whole(*await queue.find(*place), reveal, as_json)


async def send_back(
    opened: DeadLetterQueue,
    consumer: str,
    wanted: DeadLetterFilter,
    limit: int,
    dry_run: bool,
    yes: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Count, ask, send."""
    async with opened as queue:
        selected = await queue.select(wanted, limit=limit, again=again)
        count, done = len(selected.found), 0
        if not as_json:
            print_selection(selected)
        _say_missing(selected, wanted, limit)
        if count and not dry_run:
            if not confirmed(f"Send {count} record(s) to {consumer} once more?", yes):
                say("nothing was sent")
                raise typer.Exit(1)
            with progress(count) as bar:
                try:
                    await queue.replay(selected, bar.advance)
                except BaseException:
                    say(f"interrupted after {bar.done} of {count}; to go on: the same command")
                    raise
            done = bar.done
            if not as_json:
                print(f"sent       {done}")
        if as_json:
            print_json(selection_as_object(selected, done))


async def give_up(
    opened: DeadLetterQueue,
    consumer: str,
    wanted: DeadLetterFilter,
    limit: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Count, ask, note as skipped. Raises ``BridgeError`` where all that was named is settled already, or is
    not there."""
    async with opened as queue:
        selected = await queue.select(wanted, limit=limit, skip=True)
        count, done = len(selected.found), 0
        if not as_json:
            print_selection(selected, verb="skip")
        _say_missing(selected, wanted, limit)
        if wanted.places and not count:
            raise BridgeError(
                f"nothing to skip: {selected.settled} settled already, the others are no dead letters of "
                f"{consumer} or do not match; `dingbridge dlq list {consumer} --all` prints their places"
            )
        if count and not dry_run:
            if not confirmed(f"Give up {count} dead letter(s) of {consumer} for good?", yes):
                say("nothing was changed")
                raise typer.Exit(1)
            with progress(count, "skipped") as bar:
                await queue.skip(selected, bar.advance)
            done = bar.done
        if as_json:
            print_json(selection_as_object(selected, done, verb="skip"))
        elif not dry_run:
            print(f"skipped    {done}: not offered again")


def _say_missing(selected: Selection, wanted: DeadLetterFilter, limit: int) -> None:
    missing = len(wanted.places) - len(selected.found) - selected.settled
    if missing > 0 and not limit:
        say(f"{missing} of those that were named are no dead letters (any more), or do not match")
