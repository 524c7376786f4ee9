"""Children of the ingress are started again, whatever ended them, and also when they could not be started."""

import asyncio
import errno
import os

import pytest
from prometheus_client import CollectorRegistry

from ingress.metrics import PublisherMetrics
from ingress.relay import supervised_process as respawn
from ingress.relay.process import PublisherProcess
from ingress.relay.supervised_process import Respawned
from tests.support.waiting import eventually

REPORT = (
    '{"state": "up", "words": "", "since": 1, "parked": 0, "published": {}, "unclassified": {}, '
    '"errors": {}, "lags": []}'
)
WAITS = "import sys; sys.stdin.read()"
"""What a child does until its standard input closes."""


def no_process():
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


async def heard(condition, what):
    async def holds():
        return condition()

    await eventually(holds, 30, what)


async def test_a_publisher_that_could_not_be_started_is_tried_again(child):
    child(no_process(), no_process(), f"print('{REPORT}', flush=True); {WAITS}")
    publisher = PublisherProcess(PublisherMetrics(registry := CollectorRegistry()), os.environ)
    publisher.start()
    await heard(lambda: publisher.state["state"] == "up", "the third attempt is heard")
    assert registry.get_sample_value("dingbridge_publisher_restarts_total") == 2
    await publisher.stop(30)


async def test_while_the_publisher_is_gone_kafka_is_not_connected(child):
    child(f"print('{REPORT}', flush=True)", no_process())
    metrics = PublisherMetrics(registry := CollectorRegistry())
    publisher = PublisherProcess(metrics, os.environ, metrics.connected)
    seen = []
    take = metrics.connected.set
    metrics.connected.set = lambda value: (seen.append(value), take(value))
    publisher.start()
    await heard(lambda: registry.get_sample_value("dingbridge_publisher_restarts_total"), "it has ended")
    assert seen[0] == 1, "its report came before"
    assert registry.get_sample_value("dingbridge_kafka_connected") == 0
    await publisher.stop(30)


@pytest.mark.parametrize("line", ["no JSON", "[1]", "{}", "x" * 100_000])
async def test_a_line_that_says_nothing_ends_nothing(child, line):
    child(f"print('{line}'); print('{{\"number\": 1}}', flush=True); {WAITS}")
    numbers = []
    respawned = Respawned("module", os.environ, lambda said: numbers.append(said["number"]), lambda *_: None)
    respawned.start()
    await heard(lambda: numbers, "the line behind it is heard")
    await respawned.stop(30)
    assert numbers == [1]


async def test_one_that_ends_says_how_and_waits_longer_each_time(child):
    child("raise SystemExit(3)")
    ends = []
    respawned = Respawned("module", os.environ, print, lambda why, again_in_s: ends.append((why, again_in_s)))
    respawned.start()
    await heard(lambda: len(ends) >= 4, "it is started again and again")
    await respawned.stop(30)
    assert ends[:4] == [(3, 0.01), (3, 0.02), (3, 0.04), (3, 0.05)]


async def test_stopping_waits_for_no_next_attempt(child, monkeypatch):
    monkeypatch.setattr(respawn, "RESTART_S", (3600.0, 3600.0))
    child(no_process())
    ends = []
    respawned = Respawned("module", os.environ, print, lambda *end: ends.append(end))
    respawned.start()
    await heard(lambda: ends, "it could not be started")
    await respawned.stop(3600)


async def test_one_that_does_not_stop_in_time_is_killed(child):
    child("import time; print('{}', flush=True); time.sleep(3600)")
    said = []
    respawned = Respawned("module", os.environ, said.append, lambda *_: None)
    respawned.start()
    await heard(lambda: said, "it runs")
    await respawned.stop(0.05)
    assert not respawned.running


async def test_one_that_was_being_started_when_all_stop_ends_as_well(child, monkeypatch):
    child(WAITS)
    start, begun, go_on = asyncio.create_subprocess_exec, asyncio.Event(), asyncio.Event()

    async def slow(*arguments, **how):
        begun.set()
        await go_on.wait()
        return await start(*arguments, **how)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    respawned = Respawned("module", os.environ, print, lambda *_: None)
    respawned.start()
    await begun.wait()
    stopping = asyncio.ensure_future(respawned.stop(3600))
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert not respawned.running
