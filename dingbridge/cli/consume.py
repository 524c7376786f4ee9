"""``dingbridge consume``: run one consumer, or show what it has written."""

import asyncio
import os
import sys
import threading
from typing import Annotated

import structlog
import typer
import uvloop

from dingbridge.cli.consumer_file import load
from dingbridge.cli.terminal import print_json, print_table, say
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.logging import configure_logging
from dingbridge.settings import ConsumerLimits, ConsumerSettings
from dingbridge.worker import service
from dingbridge.worker.consumer import Consumer, Table

LEFT_BEHIND_S = 5
"""How long handlers that do not end may hold the end of the process up, in s: they were cancelled before."""


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="The consumer, as address-sync; or path/to/file.py:Class, which is not installed."
        ),
    ],
    show: Annotated[
        bool, typer.Option("--show", help="Print the consumer's tables and end; it may be running meanwhile.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --show: an object for each row, for machines.")
    ] = False,
) -> None:
    """Run one consumer in this process, until SIGTERM or Ctrl-C: what is being worked on is finished first.

    All settings come from the environment: see docs/settings.md. Exit code 2: settings, or no such consumer;
    1: the consumer could not start.
    """
    consumer, settings = _load(name)
    if show:
        _print(asyncio.run(service.show(consumer, settings)), as_json)
        return
    configure_logging(settings)
    timers: list[threading.Timer] = []

    async def run() -> None:
        code, words = 1, ""
        try:
            await service.ConsumerService(consumer, settings).run(handle_signals=True)
            code = 0
        except BridgeError as error:
            code, words = error.exit_code, f"dingbridge: {error}\n"
            raise
        finally:
            # the event loop waits without a limit for each task and each thread of `asyncio.to_thread`
            timers.append(threading.Timer(LEFT_BEHIND_S, _end, [name, code, words]))
            timers[0].daemon = True
            timers[0].start()

    try:
        uvloop.run(run())
    finally:
        for timer in timers:
            timer.cancel()


def _end(consumer: str, code: int, words: str) -> None:
    """End the process with ``words`` on standard error, whatever still runs in it."""
    structlog.get_logger(__name__).error(
        "consumer.left_behind",
        consumer=consumer,
        meaning="a handler does not heed being cancelled, or a thread of its does not end (a request without "
        "a time-out?); the process ends without it",
    )
    sys.stderr.write(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _load(name: str) -> tuple[Consumer, ConsumerSettings]:
    """The consumer and its settings. Raises ``SettingsError`` with the mistakes of both."""
    problems: list[str] = []
    try:
        consumer = load(name)()
        ConsumerLimits.of(consumer.name).apply(consumer)
    except SettingsError as error:
        problems += error.problems
    try:
        settings = ConsumerSettings.load()
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))
    return consumer, settings


def _print(tables: list[Table], as_json: bool) -> None:
    for title, columns, rows in tables:
        if as_json:
            for row in rows:
                print_json({"table": title, **dict(zip(columns, row, strict=True))})
        else:
            print_table(columns, rows, title=title)
    if not tables:
        say("This consumer shows no tables.")
