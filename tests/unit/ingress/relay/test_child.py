"""The ingress's child is started again, whatever ended it, and also when it could not be started."""

import asyncio
import errno
import os

from ingress.relay import child as children
from ingress.relay.child import ChildProcess
from tests.support.waiting import eventually

WAITS = "import sys; sys.stdin.read()"
"""What a child does until its standard input closes."""


class Running:
    """A child that is kept running in a task, as the ingress does it."""

    def __init__(self):
        self.ends = []
        self.child = ChildProcess(["a command"], self.ends.append)
        self.task = asyncio.ensure_future(self.child.run())

    async def stop(self, timeout_s=3600):
        await self.child.stop(timeout_s)
        await self.task


def no_process():
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


async def seen(condition, what):
    async def holds():
        return condition()

    await eventually(holds, 30, what)


async def test_one_that_could_not_be_started_is_tried_again(child):
    child(no_process(), no_process(), WAITS)
    running = Running()
    await seen(lambda: running.child.pid, "the third attempt runs")
    assert [type(why) for why in running.ends] == [BlockingIOError] * 2
    await running.stop()
    assert len(running.ends) == 2, "its end was asked for"


async def test_one_that_ends_is_started_again_after_growing_delays(child, monkeypatch):
    child("raise SystemExit(3)")
    delays = []
    timeout = asyncio.timeout
    monkeypatch.setattr(children.asyncio, "timeout", lambda s: (delays.append(s), timeout(s))[1])
    running = Running()
    await seen(lambda: len(running.ends) >= 4, "it is started again and again")
    assert running.ends[:4] == [3, 3, 3, 3]
    assert [s for s in delays if s <= 0.05][:4] == [0.01, 0.02, 0.04, 0.05]
    await running.stop()


async def test_stopping_waits_for_no_next_attempt(child, monkeypatch):
    monkeypatch.setattr(children, "RESTART_S", (3600.0, 3600.0))
    child(no_process())
    running = Running()
    await seen(lambda: running.ends, "it could not be started")
    await running.stop()


async def test_one_that_does_not_stop_in_time_is_killed(child):
    child("import time; time.sleep(3600)")
    running = Running()
    await seen(lambda: running.child.pid, "it runs")
    await running.stop(0.05)
    assert running.child.pid is None


async def test_one_that_was_being_started_when_all_stop_ends_as_well(child, monkeypatch):
    child(WAITS)
    start, begun, go_on = asyncio.create_subprocess_exec, asyncio.Event(), asyncio.Event()

    async def slow(*arguments, **how):
        begun.set()
        await go_on.wait()
        return await start(*arguments, **how)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    running = Running()
    await begun.wait()
    stopping = asyncio.ensure_future(running.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert running.child.pid is None
