"""The month's budget of API calls: shares, months, and a file that is of no use."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.pace import MARGIN
from dingbridge.errors import CallsSpent
from dingbridge.worker.api import call_counts
from dingbridge.worker.api.budget import FAILED_S, PRIORITIES, ApiCalls
from dingbridge.worker.api.call_counts import CallCounts, StoreFailed

Make = Callable[..., ApiCalls]

NOV_25 = 1_795_500_000.0  # 2026-11-25 00:00 UTC, 08:00 in Shanghai


class Clock:
    def __init__(self) -> None:
        self.now = NOV_25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "api-calls.db"


@pytest.fixture
async def make(path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """One process's budget of an app. A disk that is slow beside other tests is no failure of its file."""
    monkeypatch.setattr(call_counts, "WITHIN_S", 60.0)
    made = []

    def budget(*, app: str = "ding1", limit: int) -> ApiCalls:
        made.append(ApiCalls(CallCounts(f"sqlite:///{path}"), app=app, limit=limit, clock=clock))
        return made[-1]

    yield budget
    for one in made:
        await one.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_rubbish(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, but longer than a header of one hundred bytes" * 20)


async def spend(calls: ApiCalls, priority: Priority, times: int = 1) -> None:
    for _ in range(times):
        await calls.spend("v2/user/get", priority)


def test_priorities_are_those_of_the_client() -> None:
    assert [priority.name.lower() for priority in Priority] == list(PRIORITIES)
    assert [int(priority) for priority in Priority] == list(range(len(PRIORITIES)))


async def test_what_can_wait_ends_first(make: Make) -> None:
    calls = make(limit=10)
    await spend(calls, Priority.EVENT, 6)
    with pytest.raises(CallsSpent, match="6 of API_MONTHLY_BUDGET=10 calls are spent in 2026-11"):
        await spend(calls, Priority.RECONCILE)
    await spend(calls, Priority.RESYNC, 2)
    with pytest.raises(CallsSpent, match=r"resync calls end at 8 \(80% of the budget\)"):
        await spend(calls, Priority.RESYNC)
    await spend(calls, Priority.RECOVERY)
    with pytest.raises(CallsSpent, match="recovery calls end at 9"):
        await spend(calls, Priority.RECOVERY)
    await spend(calls, Priority.EVENT)
    with pytest.raises(
        CallsSpent, match=r"event calls end at 10\. They go on by themselves on 2026-12-01 00:00"
    ):
        await spend(calls, Priority.EVENT)
    spent = await calls.spent()
    assert (spent["calls"], spent["limit"], spent["month"]) == (10, 10, "2026-11")
    assert spent["by_priority"] == {"always": 0, "event": 7, "recovery": 1, "resync": 2, "reconcile": 0}
    assert spent["by_api"] == {"v2/user/get": 10}
    assert set(spent["left"].values()) == {0}
    assert spent["until"] == "2026-12-01T00:00:00+08:00"


async def test_what_must_always_go_is_counted_and_goes_though_the_budget_is_spent(make: Make) -> None:
    calls = make(limit=2)
    await spend(calls, Priority.EVENT, 2)
    with pytest.raises(CallsSpent):
        await spend(calls, Priority.EVENT)
    await spend(calls, Priority.ALWAYS)
    spent = await calls.spent()
    assert (spent["calls"], spent["by_priority"]["always"]) == (3, 1)
    assert "always" not in spent["left"]


async def test_a_month_ends_at_midnight_in_shanghai(make: Make, clock: Clock) -> None:
    calls = make(limit=1)
    await spend(calls, Priority.EVENT)
    with pytest.raises(CallsSpent) as caught:
        await spend(calls, Priority.EVENT)
    clock.now += caught.value.retry_after_s - 1
    with pytest.raises(CallsSpent):
        await spend(calls, Priority.EVENT)
    clock.now += 1
    await spend(calls, Priority.EVENT)
    assert ((await calls.spent())["month"], (await calls.spent())["calls"]) == ("2026-12", 1)


async def test_counts_outlive_the_process_and_are_kept_apart_by_app(make: Make, path: Path) -> None:
    first = make(limit=2)
    await spend(first, Priority.EVENT, 2)
    await first.close()
    again = make(limit=2)
    with pytest.raises(CallsSpent):
        await spend(again, Priority.EVENT)
    await spend(make(app="ding2", limit=2), Priority.EVENT)
    assert mode(path) == 0o600


async def test_a_second_app_takes_no_lock_from_the_first(make: Make, path: Path) -> None:
    """POSIX drops all of a process's locks on a file when any handle of it is closed."""
    first = make(limit=0)
    await spend(first, Priority.EVENT)
    await spend(make(app="ding2", limit=0), Priority.EVENT)
    assert not await asyncio.to_thread(another_process_may_lock, path)
    await first.close()


def another_process_may_lock(path: Path) -> bool:
    """Whether SQLite's shared lock (https://sqlite.org/src/file/src/os.h: SHARED_FIRST, SHARED_SIZE), which a
    connection in WAL mode holds while it is open, is nobody's."""
    code = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
    except OSError:
        sys.exit(1)
"""
    return subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 0


async def test_without_a_limit_it_only_counts(make: Make) -> None:
    calls = make(limit=0)
    await spend(calls, Priority.RECONCILE, 5)
    assert ((await calls.spent())["calls"], (await calls.spent())["left"]) == (5, None)


async def test_a_file_that_cannot_be_written_stops_no_call(make: Make, path: Path, clock: Clock) -> None:
    path.mkdir(parents=True)  # noqa: ASYNC240 - a folder in its place
    calls = make(limit=1)
    with capture_logs() as logs:
        await spend(calls, Priority.RECONCILE, 3)
        assert (await calls.spent())["calls"] == 0
    assert [entry["event"] for entry in logs] == ["api_calls.not_counted"]
    path.rmdir()  # noqa: ASYNC240
    clock.now += FAILED_S
    with capture_logs() as logs:
        await spend(calls, Priority.EVENT)
    assert [entry["event"] for entry in logs] == ["api_calls.counted_again"]
    assert (await calls.spent())["calls"] == 1


def write_newer(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE calls (other)")
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("write", [write_rubbish, write_newer])
async def test_a_file_that_is_of_no_use_stops_no_call(
    make: Make, path: Path, write: Callable[[Path], None]
) -> None:
    write(path)
    with capture_logs() as logs:
        await spend(make(limit=1), Priority.EVENT, 2)
    assert [entry["event"] for entry in logs] == ["api_calls.not_counted"]


async def test_calls_that_wait_for_a_database_which_does_not_answer_wait_no_longer_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected = 0

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        await reader.read()
        writer.close()

    monkeypatch.setattr(call_counts, "WITHIN_S", 0.05)
    async with await asyncio.start_server(hangs, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        counts = CallCounts(f"postgresql://user@127.0.0.1:{port}/db")
        calls = [counts.count("ding1", "2026-11", 1, "v2/user/get", None) for _ in range(20)]
        failed = await asyncio.gather(*calls, return_exceptions=True)
        await counts.close()
    assert all(isinstance(one, StoreFailed) for one in failed)
    assert connected < 20


async def test_each_process_keeps_the_pace_that_it_is_given() -> None:
    calls = ApiCalls(CallCounts("sqlite://"), app="ding1", limit=0, per_s=2)
    assert await calls.turn("v2/user/get") == 0
    assert 0.5 < await calls.turn("v2/user/get") <= 1 / (2 * MARGIN)
    assert await calls.turn("v2/department/get") == 0
    await calls.hold("v2/user/get", 30)
    assert 20 < await calls.turn("v2/user/get") <= 30
