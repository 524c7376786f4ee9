"""A running ingress whose disk fails: 503 and never ``success`` for what is not kept, alive all the while,
and back to normal by itself."""

import asyncio
import random
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from dingbridge.ingress.journal.directory import current, damaged, folders
from dingbridge.ingress.journal.store import JournalFile
from prometheus_client import CollectorRegistry

from dingbridge.ingress.errors import JournalError, JournalUnavailable
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import CONTROL, NewCallback
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from tests.support.comparison import compare
from tests.support.disk import MortalDisk, SickDisk, mortal_disk
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load, event
from tests.support.pusher import Pusher, signed
from tests.support.sizes import LONG
from tests.support.waiting import eventually

ROUNDS = 3 if LONG else 1


LATE = 10**9
"""The number of one more push, whose answer's head is looked at."""


@asynccontextmanager
async def always_healthy(ingress: IngressUnderTest):
    """Asks ``/healthz`` again and again until the end of the block; every answer must be 200."""
    url = f"http://127.0.0.1:{ingress.admin_port}/healthz"
    asked = 0

    async def ask() -> None:
        nonlocal asked
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            while True:
                async with http.get(url) as answer:
                    assert answer.status == 200
                asked += 1
                await asyncio.sleep(0.02)

    asking = asyncio.ensure_future(ask())
    try:
        yield lambda: asked
    finally:
        if asking.done():
            asking.result()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


async def refused_until_well(
    ingress: IngressUnderTest, pusher: Pusher, load: Load, recover: Callable[[], object], reason: str
) -> None:
    """While the disk is sick nothing is answered ``success``, and everybody is told; then it recovers."""
    await eventually(lambda: asyncio.to_thread(lambda: ingress.readyz()[0] == 503), what="not ready")
    refused = pusher.outcomes["503"]
    async with always_healthy(ingress) as asked:
        before = asked()
        await eventually(lambda: pusher.outcomes["503"] >= refused + 10, what="callbacks refused")
        kept = len(pusher.succeeded)  # with those that were committed before, and answered meanwhile
        await eventually(lambda: asked() >= before + 20, what="healthy all the while")
        status, details = await asyncio.to_thread(ingress.readyz)
        assert (status, details["journal"]["takes_writes"]) == (503, False)
        assert details["journal"]["words"]
        query, body = signed(event(LATE))
        async with aiohttp.ClientSession() as http, http.post(ingress.url, params=query, data=body) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
            assert await answer.json() == {"error": "unavailable"}
            pusher.answers[LATE] = str(answer.status)
        labels = {"outcome": "unavailable", "reason": reason}
        assert await asyncio.to_thread(lambda: ingress.metric("dingbridge_callbacks_total", **labels)) > 0
        assert len(pusher.succeeded) == kept, "success while nothing can be kept"
        recover()
    await eventually(lambda: asyncio.to_thread(lambda: ingress.readyz()[0] == 200), what="ready again")
    await load.more(40)


@pytest.mark.parametrize("sickness", ["full", "over-quota", "read-only", "slow"])
async def test_a_sick_disk_means_503_and_heals_by_itself(
    processes, kafka_env, kafka_settings, tmp_path, figure, sickness
):
    disk = SickDisk(tmp_path / "disk")
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, disk.env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=6) as load:
        for _ in range(ROUNDS):
            await load.more(40)
            disk.falls(sickness)
            reason = "too_slow" if sickness == "slow" else "disk"
            await refused_until_well(ingress, pusher, load, disk.recovers, reason)
    if sickness != "slow":
        assert await asyncio.to_thread(ingress.metric, "dingbridge_journal_failures_total") > 0
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="the backlog is published")
    comparison = await compare(kafka_settings, pusher)
    figure(f"{sickness}: {comparison}")
    comparison.assert_holds()
    assert ingress.process.running
    assert not damaged(ingress.journal)


async def test_a_disk_that_takes_no_fsync_ends_the_ingress_until_it_does(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    disk = SickDisk(tmp_path / "disk")
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, disk.env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=6) as load:
        await load.more(40)
        async with ingress.supervised() as codes:
            disk.falls("fsync")
            await eventually(lambda: len(codes) >= 3, what="it ends, and so does what is started here")
            assert not damaged(ingress.journal), "where no journal can be made none is put aside"
            kept = len(pusher.succeeded)
            disk.recovers()
            await load.more(40)
    assert set(codes) == {1}
    assert len(pusher.succeeded) > kept
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="the backlog is published")
    comparison = await compare(kafka_settings, pusher)
    figure(f"fsync: started {len(codes)} times; {comparison}")
    comparison.assert_holds()


# -- After a failed fsync the page cache can lie: what could not be synced is read as if it stood on the disk,


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
