"""A worker without Kafka that dies by SIGKILL at any step: run as a program, it forks one life for each line.

The database, the scheduler, giving up and the death are real; the topics, the committed offsets and the
dead letters are files in ``folder``, so that a life takes milliseconds and hundreds of them can be tried.
"""

import asyncio
import functools
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiosqlite  # noqa: F401 - once, and not in each life
import asyncpg  # noqa: F401
from aiokafka import ConsumerRecord, TopicPartition
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection

from dingbridge import Context, Database, Event, Reject, Transaction, open_database
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.dead_letters import DeadLetters, dead_letter_headers
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.queues.offset_tracker import OffsetTracker
from dingbridge.worker.scheduling.scheduler import Scheduler
from dingbridge.worker.store import inbox, outbox
from tests.unit.worker.support import Recording, effects, kafka_record, metadata, record

TOPIC = "t"
INBOX = "ctl-dingtalk.inbox.crashing"


class Crashing(Recording):
    """Does what an event's id begins with: ``ok``, ``reject``, ``fail``; ``fixed`` all succeed."""

    name = "crashing"
    max_attempts = 2
    retry_first_s = retry_max_s = 0.001
    fixed = False

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        name = event.id.split("/")[0].rpartition(":")[2]
        await tx.execute(effects.insert().values(event_id=name, subject=event.subject))
        if self.fixed:
            return
        if name.startswith("reject"):
            raise Reject("as asked")
        if name.startswith("fail"):
            raise ValueError("as asked")


class Looking(Crashing):
    """One with ``prepare``, which takes another way."""

    async def prepare(self, event: Event, ctx: Context) -> None:
        return None


class Files:
    """Topics as lists of ``(event id, user)``, letters and offsets as files that survive the process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def write(self, record: ConsumerRecord, failure: Failure) -> None:
        """What ``DeadLetterWriter.write`` does, into a file."""
        headers = dead_letter_headers(record, failure, INBOX)
        line = json.dumps(
            {
                "key": _hex(record.key),
                "value": _hex(record.value),
                "headers": [[name, _hex(value)] for name, value in headers],
            }
        )
        with (self.folder / "letters").open("a") as file:
            file.write(line + "\n")

    def letters(self) -> list[ConsumerRecord]:
        return self._read("letters", "dlq")

    def copied(self) -> list[ConsumerRecord]:
        return self._read("inbox", INBOX)

    def _read(self, name: str, topic: str) -> list[ConsumerRecord]:
        file = self.folder / name
        lines = file.read_text().splitlines() if file.exists() else []
        found = []
        for offset, line in enumerate(lines):
            letter = json.loads(line)
            found.append(
                kafka_record(
                    topic,
                    0,
                    offset,
                    key=_bytes(letter["key"]),
                    value=_bytes(letter["value"]),
                    headers=tuple((n, _bytes(v) or b"") for n, v in letter["headers"]),
                )
            )
        return found

    def copy(self, records: list[tuple[ConsumerRecord, list[tuple[str, bytes]]]]) -> None:
        """Into the inbox, each with further headers."""
        with (self.folder / "inbox").open("a") as file:
            for letter, more in records:
                headers = [[n, _hex(v)] for n, v in (*letter.headers, *more)]
                line = {"key": _hex(letter.key), "value": _hex(letter.value), "headers": headers}
                file.write(json.dumps(line) + "\n")

    def offsets(self) -> dict[str, int]:
        file = self.folder / "offsets"
        return json.loads(file.read_text()) if file.exists() else {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        fresh = self.folder / "offsets.new"
        fresh.write_text(json.dumps(self.offsets() | {p.topic: offset for p, offset in offsets.items()}))
        fresh.rename(self.folder / "offsets")


def events(script: list[tuple[str, str]]) -> list[ConsumerRecord]:
    """The topic's records for ``(kind, user)``: kinds as ``Crashing`` has them, and ``garbage``."""
    found = []
    for offset, (kind, user) in enumerate(script):
        made = record(f"{kind}{offset}", user)
        value = b"\x80 no event" if kind == "garbage" else made.value
        found.append(kafka_record(TOPIC, 0, offset, key=made.key, value=value, headers=made.headers))
    return found


async def live(spec: dict[str, Any]) -> None:
    """One life, until all is done or ``kill_at`` steps are."""
    files = Files(Path(spec["folder"]))
    base = Looking if spec["prepares"] else Crashing
    consumer = base()
    consumer.fixed = spec["fixed"]
    consumer.settings = ConsumerSettings.load(data_dir=files.folder, kafka_bootstrap_servers="localhost:1")
    database = open_database(spec["database"])
    await database.create_tables(metadata, inbox.metadata)
    offsets = OffsetTracker()
    _mark_steps(spec["kill_at"], consumer, database, files)
    scheduler = Scheduler(
        consumer,
        Executor(consumer, database),
        DeadLetters(consumer, database, files),
        offsets,
        WorkerMetrics("crashing", CollectorRegistry()),
    )
    began = files.offsets()
    for records in (events(spec["script"]), files.copied()):
        scheduler.add([r for r in records if r.offset >= began.get(r.topic, 0)])
    committed: dict[TopicPartition, int] = {}
    while True:
        places = {TopicPartition(topic, 0): 0 for topic in (TOPIC, INBOX)}
        now = {p: offset for p in places if (offset := offsets.committable_offset(p)) is not None}
        if moved := {p: offset for p, offset in now.items() if offset != committed.get(p)}:
            await files.commit(moved)
            committed |= moved
        elif not offsets.in_flight:
            break
        await asyncio.sleep(0.001)
    await scheduler.close()
    await database.close()


def _mark_steps(kill_at: int | None, consumer: Any, database: Database, files: Files) -> None:
    """Die before or after the ``kill_at``-th of the steps between which something outside changes."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def marked(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            step()
            outcome = await inner(*args, **kwargs)
            step()
            return outcome

        setattr(owner, name, wrapper)

    for name in ("enter", "attempts_of"):
        marked(inbox, name)
    for name in ("find", "add", "remove"):
        marked(outbox, name)
    for name in ("begin", "commit"):
        marked(AsyncConnection, name)
    marked(consumer, "handle")
    for name in ("write", "commit"):
        marked(files, name)


def _hex(data: bytes | None) -> str | None:
    return None if data is None else bytes(data).hex()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def main() -> None:
    """For each line of standard input, a life in a process of its own; its exit status on standard output."""
    gc.collect()
    gc.freeze()  # or each life would copy all that is imported, page by page
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)  # its log is not for the one that reads the statuses
            try:
                asyncio.run(live(json.loads(line)))
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
