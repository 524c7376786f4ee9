"""After a failed fsync the page cache can lie: what could not be synced is read as if it stood on the disk,
and the next fsync succeeds without it. Whatever was answered must still be there when the power goes.
"""

import asyncio
import random
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dingbridge.ingress.errors import JournalError, JournalUnavailable
from dingbridge.ingress.journal.directory import current, folders
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import CONTROL, NewCallback
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from tests.support.disk import MortalDisk, mortal_disk

GROUPS = 6


async def live(folder: Path, disk: MortalDisk, reader_open: bool) -> tuple[set[bytes], set[bytes]]:
    """Keep some groups, with checkpoints between them. Returns what was confirmed, and what was refused."""
    journal = Journal(folder, Retention(3600, 3600), JournalMetrics(CollectorRegistry()))
    await journal.start()
    # the relay's open file keeps the index of the WAL alive while the writer's is closed
    reader = JournalFile(current(folder).journal, read_only=True) if reader_open else None
    confirmed: set[bytes] = set()
    refused: set[bytes] = set()
    for group in range(GROUPS):
        names = [b"%d-%d" % (group, n) for n in range(4)]
        entries = [NewCallback(1, "default", "http", name * 300, b"key" + name) for name in names]
        for name, answer in zip(
            names, await asyncio.gather(*map(journal.append, entries), return_exceptions=True), strict=True
        ):
            assert answer is True or isinstance(answer, JournalUnavailable)
            (confirmed if answer is True else refused).add(name * 300)
        if group % 2:
            await asyncio.gather(journal._submit(None, _checkpoint), return_exceptions=True)
    await journal.stop()
    if reader is not None:
        reader.close()
    return confirmed, refused


def _checkpoint(file: JournalFile) -> bool:
    file.truncate_wal()
    return False


def kept(folder: Path) -> list[bytes]:
    found = []
    for each in folders(folder):
        file = JournalFile(each.journal)
        rows = file.read(0, max_rows=1_000, max_bytes=1 << 30)
        assert all(row.intact for row in rows)
        found += [row.body for row in rows if row.via != CONTROL]
        file.close()
    return found


@pytest.mark.parametrize("reader_open", [False, True], ids=["alone", "beside a reader"])
async def test_each_fsync_fails_once_and_its_data_never_arrives(tmp_path, monkeypatch, figure, reader_open):
    monkeypatch.setattr("dingbridge.ingress.journal.writer._REOPEN_EVERY_S", 0.0)
    with mortal_disk() as disk:
        (tmp_path / "all-well").mkdir()
        await live(tmp_path / "all-well", disk, reader_open)
        syncs = disk.syncs
    refusals = 0
    for number in range(2, syncs + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        with mortal_disk() as disk:
            disk.sync_fails_at = number
            try:
                confirmed, refused = await live(folder, disk, reader_open)
            except JournalError:  # it did not start: nothing was confirmed
                continue
            disk.restart("synced", random.Random(0))
            found = kept(folder)
        assert confirmed <= set(found), f"fsync {number}: confirmed, and gone with the power"
        assert len(found) == len(set(found))
        assert set(found) <= confirmed | refused
        refusals += len(refused)
    figure(f"{syncs} fsyncs, each failed once: {refusals} callbacks refused, none confirmed and lost")
    assert refusals
