"""Small pure parts: whose address it was, how many lines a flood may write, which owners were seen."""

import asyncio
import fcntl
from contextlib import closing

import pytest
from dingbridge.ingress.journal.directory import ingress_lock
from dingbridge.ingress.journal.wake import WAKE_FILE, RelayWaker, WakeFifo

from dingbridge.ingress.app import Ingress
from dingbridge.ingress.diagnostics import OWNERS_KEPT, Diagnostics
from dingbridge.logging import LogLimiter
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from dingbridge.settings.trusted_proxies import client_address
from dingbridge.tasks import TaskEnded


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        ((), "10.0.0.9", ["1.2.3.4"], "10.0.0.9"),
        (("10.0.0.0/8",), "10.0.0.9", ["1.2.3.4"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.9", ["6.6.6.6, 1.2.3.4, 10.1.1.1"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.9", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        (("10.0.0.0/8",), "8.8.8.8", ["1.2.3.4"], "8.8.8.8"),
        (("10.0.0.0/8",), "10.0.0.9", ["1.2.3.4, nonsense"], "10.0.0.9"),
        (("10.0.0.0/8",), "10.0.0.9", [], "10.0.0.9"),
        (("10.0.0.9",), "10.0.0.9", ["::1"], "::1"),
    ],
)
def test_only_trusted_proxies_are_believed(trusted, peer, forwarded, expected):
    assert client_address(peer, forwarded, trusted) == expected


def test_a_flood_of_one_reason_is_cut_at_5_lines_in_10_s_and_others_still_get_through():
    now = [0.0]
    limiter = LogLimiter(clock=lambda: now[0])
    assert [limiter.allow("signature") for _ in range(7)] == [0, 0, 0, 0, 0, None, None]
    assert limiter.allow("owner") == 0
    now[0] = 9.9
    assert limiter.allow("signature") is None
    now[0] = 10.0
    assert limiter.allow("signature") == 3, "says how many were left out"
    assert limiter.allow("signature") == 0


def test_owner_keys_are_remembered_by_app_the_latest_last_and_not_without_end():
    now = [100.0]
    seen = Diagnostics(clock=lambda: now[0])
    seen.owner_refused("default", "dingcorp1")
    seen.owner_accepted("hr", "dingcorp1")
    now[0] = 200.0
    seen.owner_accepted("hr", "dingcorp1")
    assert seen.owners() == [
        {"app": "default", "owner": "dingcorp1", "accepted": 0, "refused": 1, "last": 100.0},
        {"app": "hr", "owner": "dingcorp1", "accepted": 2, "refused": 0, "last": 200.0},
    ]
    for number in range(OWNERS_KEPT - 1):
        seen.owner_refused("default", f"owner{number}")
    assert len(seen.owners()) == OWNERS_KEPT
    assert seen.owners()[0]["app"] == "hr", "the one that was seen the longest ago is gone"


# -- The ingress does not outlive a task that it needs: it closes what it has open, and ends in words


CREDENTIALS = SAMPLE_CREDENTIALS | {"DINGTALK_API_BASE": "http://127.0.0.1:1"}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return IngressSettings.load(
        data_dir=tmp_path, journal_allow_unsafe=True, ingress_port=0, admin_port=0, ingress_relay="none"
    )


async def fails(*_):
    raise KeyError("张三")


async def returns(*_):
    pass


@pytest.mark.parametrize("ending", [fails, returns])
@pytest.mark.parametrize(
    "task",
    [
        "dingbridge.ingress.app.Ingress._measure",
        "dingbridge.ingress.journal.importing.Importer.run",
        "dingbridge.ingress.per_app.PerApp.watch",
        "dingbridge.ingress.recovery.apps.AppRecovery._regularly",
    ],
)
async def test_a_task_that_ends_ends_the_ingress(settings, monkeypatch, task, ending):
    monkeypatch.setattr(task, ending)
    with pytest.raises(TaskEnded, match="has ended") as raised:
        async with asyncio.timeout(60):
            await Ingress(settings).run()
    assert "张三" not in str(raised.value)
    lock = ingress_lock(settings.journal_path)
    lock.acquire()  # the folder is free: what starts the process again begins from what is in it
    lock.release()


# -- The FIFO by which the relay hears of new callbacks: it wakes, and holds nobody up


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
