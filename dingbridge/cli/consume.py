"""``dingbridge consume``: run one consumer, or show what it has written."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dingbridge.settings import ConsumerSettings
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

    All settings come from the environment (docs/reference/settings.md). Exit code 2: settings, or no such
    consumer; 1: the consumer could not start.
    """
    from dingbridge.logging import configure_logging

    consumer, settings = _load(name)
    if show:
        import asyncio

        from dingbridge.worker.service import show as read_tables

        _print(asyncio.run(read_tables(consumer, settings)), as_json)
        return

    from importlib import import_module
    from importlib.util import find_spec

    from dingbridge.worker.service import ConsumerService

    configure_logging(settings)

    async def run() -> None:
        with _leaving(name):
            await ConsumerService(consumer, settings).run(handle_signals=True)

    # faster, and of the extras: whoever writes a consumer can do without
    import_module("uvloop" if find_spec("uvloop") else "asyncio").run(run())


def _load(name: str) -> "tuple[Consumer, ConsumerSettings]":
    """The consumer and its settings. Raises ``SettingsError`` with the mistakes of both."""
    from dingbridge.cli.consumer_file import load
    from dingbridge.errors import SettingsError
    from dingbridge.settings import ConsumerLimits, ConsumerSettings

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
    return consumer, settings.of_part(consumer.name)


def _print(tables: "list[Table]", as_json: bool) -> None:
    from dingbridge.cli.terminal import print_list, say

    for title, columns, rows in tables:
        entries = ({"table": title, **dict(zip(columns, row, strict=True))} for row in rows)
        print_list(columns, entries, as_json=as_json, title=title)
    if not tables:
        say("This consumer shows no tables.")


@contextmanager
def _leaving(consumer: str) -> Iterator[None]:
    """Ends the process when the event loop in which this is left does not end: it waits without a limit for
    every task, and for the thread of every ``asyncio.to_thread``. The words and the exit code are the same as
    otherwise."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        timer = threading.Timer(LEFT_BEHIND_S, _end, [consumer, error])
        timer.daemon = True
        timer.start()


def _end(consumer: str, error: BaseException | None) -> None:
    import structlog

    from dingbridge.errors import BridgeError

    code = 0
    if error is not None:
        code = error.exit_code if isinstance(error, BridgeError) else 1
        words = str(error) if isinstance(error, BridgeError) else type(error).__qualname__
        print(f"dingbridge: {words}", file=sys.stderr)
    structlog.get_logger(__name__).error(
        "consumer.left_behind",
        consumer=consumer,
        meaning="a handler does not heed being cancelled, or a thread of its does not end (a request "
        "without a time-out?); the process ends without it",
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
