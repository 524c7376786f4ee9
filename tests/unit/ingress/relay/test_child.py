"""The ingress's child is started again, whatever ended it, and also when it could not be started."""

import asyncio
import errno
import os

import psutil
import pytest
from dingbridge.ingress.relay.child import keep_running
from structlog.testing import capture_logs

from dingbridge.ingress.relay import child as children
from tests.support.waiting import eventually

WAITS = "import sys; sys.stdin.read()"
"""What a child does until its standard input closes."""


class Running:
    """A child that is kept running in a task, as the ingress does it."""

    def __init__(self):
        self.ends = 0
        self.task = asyncio.ensure_future(keep_running(self.ended))

    def ended(self):
        self.ends += 1

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def no_process():
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


async def test_one_that_could_not_be_started_is_tried_again(child):
    child(no_process(), no_process(), WAITS)
    running = Running()
    await eventually(lambda: child.pids, 30, "the third attempt runs")
    assert running.ends == 2
    await running.stop()
    assert running.ends == 2, "its end was asked for"
    assert not psutil.pid_exists(child.pids[0])


async def test_one_that_ends_is_started_again_after_growing_delays(child):
    child("raise SystemExit(3)")
    with capture_logs() as logs:
        running = Running()
        await eventually(lambda: running.ends >= 4, 30, "it is started again and again")
    await running.stop()
    told = [(log["why"], log["again_in_s"]) for log in logs if log["event"] == "relay.ended"]
    assert told[:4] == [("3", 0.01), ("3", 0.02), ("3", 0.04), ("3", 0.05)]


async def test_stopping_waits_for_no_next_attempt(child, monkeypatch):
    monkeypatch.setattr(children, "RESTART_S", (3600.0, 3600.0))
    child(no_process())
    running = Running()
    await eventually(lambda: running.ends, 30, "it could not be started")
    await running.stop()


@pytest.mark.parametrize("heeds", [True, False], ids=["heeds it", "does not"])
async def test_one_that_is_to_end_has_ended(child, monkeypatch, heeds):
    monkeypatch.setattr(children, "STOP_WITHIN_S", 3600 if heeds else 0.05)
    child(WAITS if heeds else "import time; time.sleep(3600)")
    running = Running()
    await eventually(lambda: child.pids, 30, "it runs")
    await running.stop()
    assert not psutil.pid_exists(child.pids[0])
    assert not running.ends
