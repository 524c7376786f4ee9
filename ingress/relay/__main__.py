"""The publisher's own process: ``python -m ingress.relay``, started by the ingress.

Apart from the ingress so that normalising and publishing never delay an answer. It hears commands, a line
each, on standard input (``wake``, ``retry``, ``discard <journal> <seq>``), and finishes what is under way and
ends when that closes, so it never outlives its ingress; it tells its report as JSON lines on standard output.
"""

import asyncio
import gc
import os
import signal
import sys

import orjson
import structlog
import uvloop

from dingbridge.logging import configure_logging
from dingbridge.settings import IngressSettings, PublisherSettings
from ingress.errors import JournalLocked
from ingress.journal.directory import FolderLock
from ingress.relay.publisher import Publisher
from ingress.relay.stats import Report

log = structlog.get_logger(__name__)

_REPORT_EVERY_S = 0.5


async def main(settings: IngressSettings) -> None:
    """Publish until told to stop, or until the ingress is gone."""
    loop = asyncio.get_running_loop()
    # Ctrl-C, and what systemd sends to all processes of a service, are for the ingress, which tells us
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: None)
    lock = FolderLock(settings.journal_path, "publisher.lock")
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    await _acquire(lock)
    report = Report()
    publisher = Publisher(settings, settings.journal_path, report)
    listening = loop.create_task(_listen(commands, publisher))
    telling = loop.create_task(_tell(report))
    try:
        await publisher.run()
    finally:
        listening.cancel()
        telling.cancel()
        _say(report)
        lock.release()


async def _acquire(lock: FolderLock) -> None:
    """The publisher of an ingress that was killed ends by itself within moments: wait for it."""
    while True:
        try:
            lock.acquire()
            return
        except JournalLocked:
            if os.getppid() == 1:
                sys.exit(0)
            await asyncio.sleep(0.05)


async def _listen(commands: asyncio.StreamReader, publisher: Publisher) -> None:
    while line := await commands.readline():
        match line.split():
            case [b"wake"]:
                publisher.wake()
            case [b"retry"]:
                publisher.retry_parked()
            case [b"discard", journal, seq]:
                await publisher.give_up(journal.decode(), int(seq))
    publisher.stop()


async def _tell(report: Report) -> None:
    while True:
        _say(report)
        await asyncio.sleep(_REPORT_EVERY_S)


def _say(report: Report) -> None:
    try:
        sys.stdout.buffer.write(orjson.dumps(report.take()) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        pass  # the ingress is gone; standard input says so too


if __name__ == "__main__":
    loaded = PublisherSettings.load()
    configure_logging(loaded)
    # a wave's objects live as long as the wave and hold no cycles: looking through them often finds nothing
    gc.freeze()
    gc.set_threshold(50_000)
    uvloop.run(main(loaded))
