"""A journal's folder as an ingress left it, and what one that starts on it would do: refuse in words, or
publish, park and say.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from structlog.testing import capture_logs

from ingress.errors import JournalError
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.startup import open_newest
from ingress.journal.store import JournalFile, NewCallback
from ingress.relay.reading import JournalReader

NOW = 1_764_000_000_000
COUNT, CURSOR, PARKED = 120, 50, 7
FILE = "journal-0001.db"
ALARMS = {"publisher.damaged", "publisher.journal_unreadable"}


def body(number: int) -> bytes:
    return json.dumps({"number": number, "text": "钉" * (number * 37 % 900)}, ensure_ascii=False).encode()


def keep(file: JournalFile, first: int, count: int) -> None:
    numbers = range(first, first + count)
    file.keep([NewCallback(NOW + n, "default", "http", body(n), b"key-%d" % n) for n in numbers])


def journal(folder: Path, *, wal: bool) -> Path:
    """A folder as an ingress left it: ``CURSOR`` of ``COUNT`` callbacks are published, one is parked. With
    ``wal`` it was killed, and the second half of the callbacks stands in the WAL alone."""
    work = folder.with_name(folder.name + "-live")
    work.mkdir(parents=True)
    file = open_newest(work)
    keep(file, 1, COUNT // 2)
    cursor = CursorFile(work)
    cursor.move(file.id, CURSOR, [Parked(file.id, PARKED, 0, "topic", "rights", 1)])
    file.checkpoint_truncate()
    keep(file, COUNT // 2 + 1, COUNT // 2)
    if wal:
        shutil.copytree(work, folder, ignore=shutil.ignore_patterns("*-shm"))
    cursor.close()
    file.close()
    if not wal:
        shutil.copytree(work, folder)
    shutil.rmtree(work)
    return folder


@dataclass
class Found:
    """What an ingress that starts on a folder would do: refuse in words, or publish, park and say."""

    refused: str | None = None
    published: dict[int, bytes] = field(default_factory=dict)
    parked: set[int] = field(default_factory=set)
    said: set[str] = field(default_factory=set)


def start(folder: Path) -> Found:
    """Start on the folder as the ingress and its publisher do, but for Kafka."""
    found = Found()
    with capture_logs() as logs:
        try:
            file = open_newest(folder)
        except JournalError as error:
            found.refused = str(error)
            return found
        keep(file, 1_000, 1)
        publish(folder, found)
        file.close()
    found.said = {line["event"] for line in logs}
    return found


def publish(folder: Path, found: Found) -> None:
    """What the publisher would read of the first file that is not drained."""
    cursor = CursorFile(folder)
    reader = JournalReader(folder, cursor)
    source = reader.current()
    if source is not None:
        seq = cursor.seq(source.id)
        while rows := reader.read(source, seq):
            assert [row.seq for row in rows] == sorted({row.seq for row in rows})
            found.published |= {row.seq: row.body for row in rows if row.intact}
            found.parked |= {row.seq for row in rows if not row.intact}
            assert rows[-1].seq > seq
            seq = rows[-1].seq
        found.parked |= cursor.parked_seqs(source.id)
    reader.close()
    cursor.close()
