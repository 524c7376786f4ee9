"""What the commands of ``dingbridge dlq`` do, on a queue that is not entered yet."""

from contextlib import aclosing
from typing import Any

import typer

from dingbridge.cli.dlq.output import (
    COLUMNS,
    REASON_COLUMNS,
    as_object,
    plan_as_object,
    print_plan,
    print_whole,
    reason_as_object,
)
from dingbridge.cli.terminal import confirmed, print_json, print_list, progress, say
from dingbridge.errors import BridgeError
from dingbridge.replay.dead_letter_queue import DeadLetterQueue, ReplayPlan
from dingbridge.replay.dead_letters import DeadLetterFilter


async def list_all(
    opened: DeadLetterQueue, consumer: str, wanted: DeadLetterFilter, limit: int, all_: bool, as_json: bool
) -> None:
    """Print those that match, with ``all_`` the settled ones too."""
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
        found = await queue.find(*place)
        print_whole(found, queue.settled_by(found), reveal, as_json)


async def send_back(
    opened: DeadLetterQueue,
    consumer: str,
    wanted: DeadLetterFilter,
    limit: int,
    dry_run: bool,
    yes: bool,
    again: bool,
    resume: str | None,
    as_json: bool,
) -> None:
    """Count, ask, send."""
    async with opened as queue:
        plan = await queue.plan(wanted, limit=limit, again=again, resume=resume)
        if not as_json:
            print_plan(plan)
        _say_missing(plan, wanted, limit)
        if dry_run or not (plan.to_send or plan.noted):
            if as_json:
                print_json(plan_as_object(plan, 0))
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
            print_json(plan_as_object(plan, bar.done))
        else:
            print(f"sent       {bar.done}")


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
        plan = await queue.plan_skip(wanted, limit=limit)
        if not as_json:
            print_plan(plan, verb="skip")
        _say_missing(plan, wanted, limit)
        if wanted.places and not plan.to_send:
            raise BridgeError(
                f"nothing to skip: {plan.settled} settled already, the others are no dead letters of "
                f"{consumer} or do not match; `dingbridge dlq list {consumer} --all` prints their places"
            )
        done = 0
        if plan.to_send and not dry_run:
            if not confirmed(f"Give up {plan.to_send} dead letter(s) of {consumer} for good?", yes):
                say("nothing was changed")
                raise typer.Exit(1)
            with progress(plan.to_send, "skipped") as bar:
                await queue.skip(wanted, bar.advance, limit=limit)
            done = bar.done
        if as_json:
            print_json(plan_as_object(plan, done, verb="skip"))
        elif not dry_run:
            print(f"skipped    {done}: not offered again")


def _say_missing(plan: ReplayPlan, wanted: DeadLetterFilter, limit: int) -> None:
    missing = len(wanted.places) - plan.to_send - plan.noted - plan.settled
    if missing > 0 and not limit:
        say(f"{missing} of those that were named are no dead letters (any more), or do not match")
