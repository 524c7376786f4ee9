"""Journals with callbacks in them, opened as the ingress does it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import apsw
from prometheus_client import CollectorRegistry

from dingbridge.events.facts import NO_FACTS
from dingbridge.ingress.journal.disk import is_damage
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current, open_current, rename_damaged
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import Acknowledgement, NewCallback, Parked, StoredCallback
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics

NOW = int(time.time() * 1000) - 600_000
DAY = Retention(callbacks_s=86_400, seen_s=86_400, min_free_bytes=0)


def callback(body: bytes, at_ms: int = NOW, key: bytes | None = None) -> NewCallback:
    """Its dedupe key is made of ``body``, unless it is given."""
    return NewCallback(at_ms, "default", "http", body, NO_FACTS, b"key-" + body if key is None else key)


def fill(root: Path, count: int, acked: int | None = None, parked: tuple[int, ...] = ()) -> JournalFile:
    """The journal below ``root``, open, with ``count`` callbacks more, whose bodies are their numbers."""
    root.mkdir(exist_ok=True)
    file = open_current(root)
    first = file.highest_seq() + 1
    callbacks = [callback(b"%d" % n, NOW + n) for n in range(first, first + count)]
    file.commit(callbacks, None, [Acknowledgement(acked, [rights(seq) for seq in parked])])
    return file


def reopened(root: Path) -> JournalFile:
    """The journal below ``root``, open; one that is damaged is put aside, as by an ingress that ends."""
    try:
        return open_current(root)
    except apsw.Error as error:
        if not is_damage(error):
            raise
        rename_damaged(root, str(error))
        return open_current(root)


def rights(seq: int) -> Parked:
    """The callback ``seq`` is parked, since there is no right to write its topic."""
    return Parked(seq, "topic", "rights", 1)


def rows(file: JournalFile) -> list[StoredCallback]:
    found = list[StoredCallback]()
    while page := file.read(found[-1].seq if found else 0, max_rows=1_000_000, max_bytes=1 << 30):
        found += page
    return found


def rows_below(root: Path) -> list[StoredCallback]:
    """The rows of the journal that is written below ``root``."""
    with closing(JournalFile(current(root), read_only=True)) as file:
        return rows(file)


def bodies_below(root: Path) -> list[bytes]:
    return [row.body for row in rows_below(root)]


@asynccontextmanager
async def started(root: Path, retention: Retention = DAY) -> AsyncIterator[Journal]:
    """The writer of the journal below ``root``."""
    root.mkdir(exist_ok=True)  # noqa: ASYNC240 - a moment, in a test
    journal = Journal(root, retention, JournalMetrics(CollectorRegistry()))
    await journal.start()
    try:
        yield journal
    finally:
        await journal.stop()


UNDERSTOOD = {
    "since is a text": "since_ms = 'x'",
    "since is far away": "since_ms = 1 << 62",
    "number of no callback": "seq = 9999",
}
"""Changes of a parked row, as by a flipped bit, that leave its topic and reason."""
UNREADABLE_ROWS = {
    "topic is a blob": "topic = CAST(topic AS BLOB)",
    "topic is no text": "topic = CAST(x'fffe' AS TEXT)",
    "reason is a blob": "reason = CAST(reason AS BLOB)",
    "reason is no text": "reason = CAST(x'fffe' AS TEXT)",
    "number is a blob": "seq = x'02000000'",
    "all are something else": "seq = x'02', topic = 3, reason = 1.5, since_ms = x'ff'",
}
"""Changes after which it cannot be understood."""
