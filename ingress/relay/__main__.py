"""A relay's own process: ``python -m ingress.relay FOLDER [--drain]``, started by the ingress.

Apart from the ingress so that normalising and publishing never delay an answer. It hears commands, a line
each, on standard input (``wake``, ``retry``, ``forget-damaged``), and finishes what is under way and ends
when that closes, so it never outlives its ingress; it tells its stats as JSON lines on standard output.

With ``--drain`` it ends when all is published: with 0 if nothing is left that a retry may help.
"""

import argparse
import asyncio
import gc
import signal
import sys
from pathlib import Path

import apsw
import orjson
import structlog
import uvloop

from dingbridge.logging import configure_logging
from dingbridge.settings import IngressSettings, PublisherSettings
from dingbridge.tracing import Tracer, open_tracer
from ingress.errors import JournalDamaged, JournalError, JournalLocked
from ingress.journal.directory import JournalFolder, relay_lock
from ingress.relay.drain import what_is_left
from ingress.relay.publisher import Publisher
from ingress.relay.stats import PublisherStats

log = structlog.get_logger(__name__)

_TELL_EVERY_S = 0.5
_LOCK_EVERY_S = 0.05


async def main(settings: IngressSettings, folder: Path, *, drain: bool) -> int:
    """Publish until told to stop, or until the ingress is gone, or all is drained. Returns the exit code."""
    loop = asyncio.get_running_loop()
    # Ctrl-C, and what systemd sends to all processes of a service, are for the ingress, which tells us
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: None)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    lock = relay_lock(folder)
    while True:
        if drain and not JournalFolder(folder).journal.exists():  # it was given up meanwhile
            return 0
        try:
            lock.acquire()
            break
        except JournalLocked:  # of a relay whose ingress was killed: it ends by itself within moments
            if commands.at_eof():
                return 0
            await asyncio.sleep(_LOCK_EVERY_S)
    stats = PublisherStats()
    tracer = open_tracer(settings, "dingbridge-relay")
    telling = loop.create_task(_tell(stats))
    try:
        return await _publish(settings, folder, stats, commands, tracer, drain=drain)
    finally:
        telling.cancel()
        _say(stats)
        if tracer is not None:
            tracer.close()
        lock.release()


async def _publish(
    settings: IngressSettings,
    folder: Path,
    stats: PublisherStats,
    commands: asyncio.StreamReader,
    tracer: Tracer | None,
    *,
    drain: bool,
) -> int:
    try:
        publisher = Publisher(settings, folder, stats, drain=drain, tracer=tracer)
        listening = asyncio.create_task(_listen(commands, publisher))
        try:
            await publisher.run()
        finally:
            listening.cancel()
        return 1 if drain and what_is_left(folder).parked else 0
    except JournalDamaged as error:
        log.error("publisher.journal_damaged", words=str(error))
        stats.damaged(str(error))
        stats.down(str(error))
        return 0 if drain else 1  # what cannot be read now will not be read later
    except (JournalError, apsw.Error) as error:
        log.error("publisher.journal_unreadable", error=type(error).__name__, words=str(error))
        stats.down(f"the journal or its checkpoint cannot be opened ({type(error).__name__}: {error})")
        return 1


async def _listen(commands: asyncio.StreamReader, publisher: Publisher) -> None:
    while line := await commands.readline():
        match line.strip():
            case b"wake":
                publisher.wake()
            case b"retry":
                publisher.parked.ask()
            case b"forget-damaged":
                await publisher.forget_damaged()
    publisher.stop()


async def _tell(stats: PublisherStats) -> None:
    while True:
        _say(stats)
        await asyncio.sleep(_TELL_EVERY_S)


def _say(stats: PublisherStats) -> None:
    try:
        sys.stdout.buffer.write(orjson.dumps(stats.take()) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        pass  # the ingress is gone; standard input says so too


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m ingress.relay")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--drain", action="store_true")
    asked = parser.parse_args()
    loaded = PublisherSettings.load()
    configure_logging(loaded)
    # a set's objects live as long as the set and hold no cycles: looking through them often finds nothing
    gc.freeze()
    gc.set_threshold(50_000)
    sys.exit(uvloop.run(main(loaded, asked.folder, drain=asked.drain)))
