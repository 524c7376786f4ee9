"""``dingbridge consumers migrate``: shows and writes the revision that a consumer's code needs."""

import asyncio
from typing import Annotated

import typer

from dingbridge.cli.consumer_file import load
from dingbridge.cli.consumers import down as going_down
from dingbridge.cli.consumers.revision import missing_revision, write_all
from dingbridge.cli.terminal import Yes, confirmed, say


def migrate(
    name: Annotated[str, typer.Argument(help="The consumer, as billing; or path/to/file.py:Class.")],
    write: Annotated[bool, typer.Option("--write", help="Write it into the consumer's sources.")] = False,
    message: Annotated[
        str, typer.Option("--message", "-m", help="The revision's name; by default what it adds.")
    ] = "",
    down: Annotated[
        str, typer.Option("--down", metavar="REVISION", help="Take the database back to this revision.")
    ] = "",
    worker: Annotated[
        bool, typer.Option("--worker", help="With --down: the worker's tables in this database.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Show the revision that brings a consumer's tables to its code: new tables, columns and indexes; with
    --write, write it. The consumer runs it at its next start.

    The code is compared with what the revisions make, and no database of yours is opened. A consumer without
    `migrations` gets the first one, which leaves tables that are there as they are. A column that may not be
    NULL needs a `server_default`, for the rows that there are.

    --down is the way back to an older version, which named this command when it refused the database. Run it
    with the newer version, while no consumer of that database runs. What the revisions added is deleted.
    Exit code 1: it cannot be written, with the reason.
    """
    if worker and not down:
        raise typer.BadParameter("--worker belongs to --down")
    if down and (write or message):
        raise typer.BadParameter("--down writes no revision: without --write and --message")
    consumer = load(name)
    if down:
        if not confirmed(f"Take the tables back to {down}? What later revisions added is deleted.", yes):
            raise typer.Exit(1)
        before = asyncio.run(going_down.down(consumer, down, worker=worker))
        say(f"The tables are at revision {down}, and were at {before}. Start the older version now.")
        return
    missing = missing_revision(consumer, message)
    for file in missing.files:
        print(f"# {file.path}\n{file.text}")
    if not missing.files:
        say(f"No revision is missing: the revisions of {consumer.name} make all that its code has.")
    elif write:
        write_all(missing.files)
        say(f"Written. {missing.hint}")
    else:
        say("Nothing is written yet: --write writes this.")
