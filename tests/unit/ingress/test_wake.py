"""The FIFO by which the relay hears of new callbacks: it wakes, and holds nobody up."""

import asyncio
import fcntl
from contextlib import closing

from dingbridge.ingress.journal.wake import WAKE_FILE, RelayWaker, WakeFifo


async def woken(times):
    async with asyncio.timeout(30):
        return await times.get()


async def test_each_of_two_relays_is_woken_and_none_need_be_there(tmp_path):
    waker = RelayWaker(tmp_path)
    waker.wake()  # no relay yet
    times: asyncio.Queue[None] = asyncio.Queue()
    for _ in range(2):  # the second after the first was killed, which left the file
        with closing(WakeFifo(tmp_path, lambda: times.put_nowait(None))):
            waker.wake()
            await woken(times)
    assert (tmp_path / WAKE_FILE).is_fifo()


async def test_what_is_kept_in_a_burst_wakes_at_once_and_once_more(tmp_path):
    times: asyncio.Queue[None] = asyncio.Queue()
    waker = RelayWaker(tmp_path)
    with closing(WakeFifo(tmp_path, lambda: times.put_nowait(None))):
        for _ in range(10_000):
            waker.wake()
        await woken(times)
        await woken(times)
        assert times.empty()


async def test_a_relay_that_reads_nothing_holds_no_ingress_up(tmp_path, monkeypatch):
    with closing(WakeFifo(tmp_path, lambda: None)) as fifo:
        asyncio.get_running_loop().remove_reader(fifo._reader)
        holds = fcntl.fcntl(fifo._reader, fcntl.F_SETPIPE_SZ, 4096)
        waker = RelayWaker(tmp_path)
        for _ in range(2 * holds):  # more bytes than the pipe takes
            waker.wake()
            waker._rested()


async def test_another_file_of_that_name_is_replaced(tmp_path):
    (tmp_path / WAKE_FILE).write_text("")
    with closing(WakeFifo(tmp_path, lambda: None)):
        assert (tmp_path / WAKE_FILE).is_fifo()
