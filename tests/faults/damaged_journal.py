"""A journal's folder as an ingress left it, and what one that starts on it would do: refuse in words, or
publish, park, put aside and say.
"""

import json
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import apsw
from structlog.testing import capture_logs

from ingress.errors import JournalDamaged, JournalError
from ingress.journal.checkpoint import Checkpoint, Parked
from ingress.journal.directory import JournalFolder, current, damaged
from ingress.journal.rows import CONTROL, NewCallback
from ingress.journal.startup import open_current, put_aside
from ingress.journal.store import DAMAGE, JournalFile
from ingress.relay.reading import JournalReader, Unread

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
    file.checkpoint_truncate()
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
    """What an ingress that starts on a folder would do."""

    refused: str | None = None
    published: dict[int, bytes] = field(default_factory=dict)
    """Of the journal that was there; with what was kept since, if it was not put aside."""
    parked: set[int] = field(default_factory=set)
    unread: set[int] = field(default_factory=set)
    lost: bool = False
    """Nothing of it could be read."""
    aside: bool = False
    since: list[bytes] = field(default_factory=list)
    """What was published of a new journal, but for its order to look anew."""
    said: set[str] = field(default_factory=set)


def start(root: Path) -> Found:
    """Start on ``root`` as the ingress and its relays do, but for Kafka, and keep one callback more."""
    found = Found()
    with capture_logs() as logs:
        try:
            file = open_current(root)
        except JournalError as error:
            found.refused = str(error)
            return found
        try:
            with closing(file):
                keep(file, 1_000, 1)
            if not damaged(root):
                _publish(current(root), found, past_damage=False)
        except (JournalDamaged, *DAMAGE) as error:
            found.published.clear()
            found.parked.clear()
            with closing(put_aside(root, str(error), lambda: None)) as anew:
                keep(anew, 1_000, 1)
        for aside in damaged(root):
            found.aside = True
            try:
                _publish(aside, found, past_damage=True)
            except (JournalDamaged, apsw.Error):
                found.lost = True
            with closing(JournalFile(current(root).journal, read_only=True)) as new:
                order, *rows = new.read(0, max_rows=999, max_bytes=1 << 30)
            assert order.via == CONTROL
            found.since = [row.body for row in rows]
    found.said = {line["event"] for line in logs}
    return found


def _publish(folder: JournalFolder, found: Found, *, past_damage: bool) -> None:
    with closing(JournalReader(folder.path, past_damage=past_damage)) as reader:
        seq, parked = 0, frozenset[int]()
        try:
            with closing(Checkpoint(folder.path, reader.id)) as checkpoint:
                seq, parked = checkpoint.seq(), checkpoint.parked_seqs()
        except (JournalError, apsw.Error):
            assert past_damage  # in the current one that is refused at the start
        while (chunk := reader.read(seq)).end > seq:
            for row in chunk.rows:
                assert row.seq > seq
                seq = row.seq
                if isinstance(row, Unread):
                    found.unread.add(row.seq)
                elif row.intact:
                    found.published[row.seq] = row.body
                else:
                    found.parked.add(row.seq)
            seq = chunk.end
        found.parked |= parked
