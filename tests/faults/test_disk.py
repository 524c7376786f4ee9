"""A running ingress whose disk fails: 503 and never ``success`` for what is not kept, alive all the while,
and back to normal by itself."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress

import aiohttp

from dingbridge.ingress.journal.folder import put_aside
from tests.support.comparison import compare
from tests.support.disk import SickDisk
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load, event
from tests.support.pusher import Pusher, signed
from tests.support.waiting import eventually

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
    ingress: IngressUnderTest, pusher: Pusher, load: Load, recover: Callable[[], object]
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
        labels = {"outcome": "unavailable", "reason": "disk"}
        assert await asyncio.to_thread(lambda: ingress.metric("dingbridge_callbacks_total", **labels)) > 0
        assert len(pusher.succeeded) == kept, "success while nothing can be kept"
        recover()
    await eventually(lambda: asyncio.to_thread(lambda: ingress.readyz()[0] == 200), what="ready again")
    await load.more(40)


async def test_a_full_disk_and_a_quota_mean_503_and_heal_by_themselves(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    disk = SickDisk(tmp_path / "disk")
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, disk.env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=6) as load:
        for sickness in ("full", "over-quota", "fsync"):
            await load.more(40)
            disk.falls(sickness)
            await refused_until_well(ingress, pusher, load, disk.recovers)
    assert await asyncio.to_thread(ingress.metric, "dingbridge_journal_failures_total") > 0
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="the backlog is published")
    comparison = await compare(kafka_settings, pusher)
    figure(comparison)
    comparison.assert_holds()
    assert ingress.process.running
    assert not put_aside(ingress.journal)
