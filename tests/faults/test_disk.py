"""A running ingress whose disk fails: 503 and never ``success`` for what is not kept, alive all the while,
and back to normal by itself.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from dingbridge.ingress.journal.directory import damaged
from tests.support.comparison import compare
from tests.support.disk import SickDisk
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


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own, where this user may mount one."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def may_mount() -> bool:
    try:
        with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder) / "try"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


MAY_MOUNT = sys.platform == "linux" and os.geteuid() == 0 and may_mount()


@pytest.mark.skipif(not MAY_MOUNT, reason="the right to mount is missing; `full` above stands for it")
async def test_a_file_system_without_a_free_block(processes, kafka_env, kafka_settings, tmp_path, figure):
    with small_disk(tmp_path / "small") as small:
        ingress = IngressUnderTest(processes, small, kafka_env)
        pusher = Pusher(ingress.url)
        await asyncio.to_thread(ingress.start)
        ballast = small / "ballast"
        async with Load(pusher, lanes=6) as load:
            await load.more(40)
            await asyncio.to_thread(fill_up, ballast, lambda: ingress.readyz()[0] == 503)
            await refused_until_well(ingress, pusher, load, ballast.unlink, "disk")
        await eventually(lambda: asyncio.to_thread(ingress.drained), what="the backlog is published")
        comparison = await compare(kafka_settings, pusher)
        figure(f"24 MB, filled to the last block: {comparison}")
        comparison.assert_holds()
        ingress.process.stop()


def fill_up(ballast: Path, enough: Callable[[], bool]) -> None:
    """Takes every free block, until ``enough``: what is freed by pruning, too."""
    with ballast.open("wb", buffering=0) as file:
        while not enough():
            with suppress(OSError):
                while True:
                    file.write(bytes(4096))
