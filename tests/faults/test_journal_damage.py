"""A journal that fails while it is written ends the ingress. The next one takes callbacks at once, and
publishes what can be read of the old one."""

import asyncio

from tests.support.comparison import compare
from tests.support.disk import SickDisk
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load
from tests.support.pusher import Pusher
from tests.support.waiting import eventually


async def test_a_journal_that_fails_while_it_is_written_ends_the_ingress_and_is_drained(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    disk = SickDisk(tmp_path / "disk")
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, disk.env)
    pusher = Pusher(ingress.url)
    first = await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=6) as load:
        await load.more(40)
        folder = ingress.journal / "current"
        disk.falls("unreadable", files=[folder / "journal.db", folder / "journal.db-wal"])
        await eventually(lambda: not first.running, what="it ends")
        disk.recovers()
        async with ingress.supervised() as codes:
            await load.more(40)
        assert codes == [1]
    assert "journal.put_aside" in first.log_text()
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="both are published")
    comparison = await compare(kafka_settings, pusher)
    figure(f"a new journal after the old one failed: {comparison}")
    comparison.assert_holds(put_aside=1)
    assert [path.name for path in ingress.journal.iterdir() if path.is_dir()] == ["current"]
