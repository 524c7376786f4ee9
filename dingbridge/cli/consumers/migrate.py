"""``dingbridge consumers migrate``: shows and writes the revision that a consumer's code needs."""

from typing import Annotated

import typer

from dingbridge.cli.consumer_file import load
from dingbridge.cli.consumers.revision import missing_revision, write_all
from dingbridge.cli.terminal import say


def migrate(
    name: Annotated[str, typer.Argument(help="The consumer, as billing; or path/to/file.py:Class.")],
    write: Annotated[bool, typer.Option("--write", help="Write it into the consumer's sources.")] = False,
    message: Annotated[
        str, typer.Option("--message", "-m", help="The revision's name; by default what it adds.")
    ] = "",
) -> None:
    """Show the revision that brings a consumer's tables to its code: new tables, columns and indexes; with
    --write, write it. The consumer runs it at its next start.

    The code is compared with what the revisions make, and no database of yours is opened. A consumer without
    `migrations` gets the first one, which leaves tables that are there as they are. A column that may not be
    NULL needs a `server_default`, for the rows that there are.
    Exit code 1: it cannot be written, with the reason.
    """
    consumer = load(name)
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
