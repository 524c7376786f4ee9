"""``dingbridge backup`` and ``dingbridge restore``."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from dingbridge.cli.terminal import Yes, confirmed, listed, say


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, for this back-up alone.")],
) -> None:
    """Copy what only this installation has, while it runs: the journal, the databases of the consumers, and
    where in Kafka their groups are.

    Run it with the environment of the processes, where their files are; where each consumer has a database
    of its own in PostgreSQL, once for each, into a folder of its own. PostgreSQL is copied by pg_dump.
    Everything in the folder is personal data: its mode is 0700, and you encrypt it. Exit code 1: it failed,
    and the folder is no back-up; 3: it is made, except for what the last lines ask to be done by hand.
    """
    from dingbridge.backup.making import NOT_IN_IT, back_up
    from dingbridge.logging import configure_logging
    from dingbridge.settings import ConsumerSettings

    settings = ConsumerSettings.load()
    configure_logging(settings)
    left = asyncio.run(back_up(settings, folder, _line))
    for words in NOT_IN_IT:
        _line("not in it", words)
    for words in left:
        say(words)
    if left:
        raise typer.Exit(3)


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a back-up.")],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Of these only: consumers, journal. With commas.", show_default="all"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, and change nothing.")] = False,
    yes: Yes = False,
) -> None:
    """Restore a back-up, and set the consumers' groups back to its offsets, so that they read again what came
    since.

    Stop all processes first, and empty the targets; nothing is overwritten. After a kill or an error, run the
    same command again: it goes on. Outbound then starts paused. Exit code 1: the back-up is not whole, or
    something does not answer; 2: settings; 3: refused, with everything that is in the way.
    """
    from dingbridge.backup.restoring import Restore, in_words
    from dingbridge.logging import configure_logging
    from dingbridge.settings import ConsumerSettings

    settings = ConsumerSettings.load()
    configure_logging(settings)
    run = Restore(settings, folder, listed(only) or ())
    _line("back-up", f"of {run.manifest.at:%Y-%m-%dT%H:%M:%SZ}, by dingbridge {run.manifest.version}")
    _line("restores", in_words([*run.consumers, *run.stores]))
    asyncio.run(run.check())
    if dry_run:
        return
    if not confirmed("Restore that?", yes):
        say("nothing was restored")
        raise typer.Exit(1)
    asyncio.run(run.run(_line))
    say("start the consumers, then the ingress; `dingbridge outbound status` lists what waits for a hand")


def _line(name: str, words: str) -> None:
    print(f"{name:<10} {words}", flush=True)
