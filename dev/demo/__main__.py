"""``python -m dev.demo`` (``make demo``): the whole bridge on this machine, with a simulated company, for 1
minute."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dev.demo.scenario import Options, new_folder, run
from dingbridge.errors import BridgeError
from dingbridge.ingress.journal.folder import why_unsafe


class Mode(StrEnum):
    """How DingTalk's events come in."""

    http = "http"
    stream = "stream"


class How(StrEnum):
    """Where Kafka comes from."""

    auto = "auto"
    docker = "docker"
    jars = "jars"


def command(
    seconds: Annotated[float, typer.Option(min=4, max=86_400, help="How long the company lives.")] = 22,
    rate: Annotated[float, typer.Option(min=1, max=500, help="Events per second.")] = 20,
    keep: Annotated[
        bool, typer.Option("--keep", envvar="KEEP", help="Leave everything running until Ctrl-C.")
    ] = False,
    mode: Annotated[
        Mode, typer.Option(envvar="MODE", help="DingTalk pushes to a URL, or over the ingress's connections.")
    ] = Mode.http,
    how: Annotated[
        How, typer.Option(help="Kafka in Docker, from its jars (Java 17), or whichever works.")
    ] = How.auto,
    data_dir: Annotated[
        Path, typer.Option(envvar="DATA_DIR", help="The demo writes into demo/<time> in it, and leaves it.")
    ] = Path("data"),
) -> None:
    """The whole bridge on this machine: a real Kafka, a simulated DingTalk, the ingress, four consumers.

    The ingress is killed in the middle, and an OA writes to DingTalk and receives changes; at the end what
    DingTalk saw answered is compared with Kafka and with the OA tables, and the console finds a person's
    events. No other settings of the environment
    are used. Exit code 1: something was lost, differs, did not happen or did not start.
    """
    os.umask(0o077)  # also of its processes: credentials and passwords stand there, and people
    try:
        folder = new_folder(data_dir)
        code = run(Options(folder, seconds, rate, keep, mode.value, how.value, why_unsafe(folder)))
    except BridgeError as error:
        typer.echo(error, err=True)
        code = 1
    raise typer.Exit(code)


if __name__ == "__main__":
    typer.run(command)
