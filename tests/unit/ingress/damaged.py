"""A journal's folder as an ingress left it, and what one that starts on it would do: refuse in words, or
publish, park, put aside and import.
"""

import asyncio
import json
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import apsw
from prometheus_client import CollectorRegistry

from dingbridge.ingress.errors import JournalDamaged, JournalError
from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.directory import JournalFolder, current, damaged, report_damage
from dingbridge.ingress.journal.importing import Importer
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import CONTROL, ImportState, NewCallback
from dingbridge.ingress.journal.startup import open_current
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.ingress.relay.reading import JournalReader

NOW = 1_764_000_000_000
COUNT, PASSED, PARKED = 120, 50, 7


def body(number: int) -> bytes:
    return json.dumps({"number": number, "text": "钉" * (number * 37 % 900)}, ensure_ascii=False).encode()


def keep(file: JournalFile, first: int, count: int) -> None:
    numbers = range(first, first + count)
    file.keep([NewCallback(NOW + n, "default", "http", body(n), b"key-%d" % n) for n in numbers])


def journal(root: Path, *, wal: bool) -> Path:
    """A ``JOURNAL_DIR`` as an ingress left it: ``PASSED`` of ``COUNT`` callbacks are published, one parked.
    With ``wal`` it was killed, and the second half of the callbacks is in the WAL alone."""
    work = root.with_name(root.name + "-live")
    work.mkdir(parents=True)
    file = open_current(work)
    keep(file, 1, COUNT // 2)
    checkpoint = Checkpoint(current(work).path, file.id)
    checkpoint.commit(PASSED, [Parked(PARKED, 0, "topic", "rights", 1)])
    file.truncate_wal()
    keep(file, COUNT // 2 + 1, COUNT // 2)
    if wal:
        shutil.copytree(work, root, ignore=shutil.ignore_patterns("*-shm"))
    checkpoint.close()
    file.close()
    if not wal:
        shutil.copytree(work, root)
    shutil.rmtree(work)
    return root


@dataclass
class Found:
    """What an ingress that starts on a folder would do, with its relay, each started again when it ends."""

    refused: str | None = None
    published: list[bytes] = field(default_factory=list)
    damaged: int = 0
    """Rows that are parked as damaged."""
    unread: int = 0
    """What the import of a folder that was put aside has counted."""
    lost: bool = False
    """Nothing of it could be read: it is said, and the folder stays."""
    aside: bool = False


LATER = 1_000
"""The number of the callback that is kept after the start."""


def start(root: Path) -> Found:
    """Start on ``root`` as the ingress and its relay do, but for Kafka, and keep one callback more."""
    found = Found()
    try:
        try:
            _keep_later(root)
            _publish(root, found)
        except JournalDamaged as error:
            report_damage(current(root).path, str(error))
            _keep_later(root)
    except JournalError as error:
        found.refused = str(error)
        return found
    if aside := damaged(root):
        found.aside = True
        state = asyncio.run(_import(root, aside))
        found.unread, found.lost = state.unread, not state.rows
        found.published.clear()
        found.damaged = 0
        _publish(root, found)
    return found


def _keep_later(root: Path) -> None:
    """Raises ``JournalDamaged`` where the write meets the damage, as the ingress's writer does."""
    with closing(open_current(root)) as file:
        try:
            keep(file, LATER, 1)
        except apsw.CorruptError as error:
            raise JournalDamaged(str(error)) from error


async def _import(root: Path, aside: list[JournalFolder]) -> ImportState:
    journal = Journal(root, Retention(3600, 1e9), JournalMetrics(CollectorRegistry()))
    await journal.start()
    try:
        [state] = [await Importer(root, journal, 0).bring_in(folder) for folder in aside]
        return state
    finally:
        await journal.stop()


def _publish(root: Path, found: Found) -> None:
    folder = current(root)
    with closing(JournalReader(folder.path)) as reader:
        seq = 0
        if folder.checkpoint.exists():
            with closing(Checkpoint(folder.path, reader.id)) as checkpoint:
                seq = checkpoint.seq()
        while (chunk := reader.read(seq)).end > seq:
            for row in chunk.rows:
                assert row.seq > seq
                seq = row.seq
                if not row.intact:
                    found.damaged += 1
                elif row.via != CONTROL:
                    found.published.append(row.body)
            seq = chunk.end
