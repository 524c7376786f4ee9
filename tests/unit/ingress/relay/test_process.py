"""Children of the ingress are started again, whatever ended them, and also when they could not be started."""

import asyncio
import errno
import os
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from ingress.metrics import PublisherMetrics
from ingress.relay import process as processes
from ingress.relay.process import PublisherProcess, SupervisedProcess
from ingress.relay.status import RelayStatus
from tests.support.waiting import eventually

STATS = orjson.dumps({**RelayStatus().take(), "state": "up"}).decode()
FOLDER = Path("current")
WAITS = "import sys; sys.stdin.read()"
"""What a child does until its standard input closes."""


def run(hear, gone):
    return SupervisedProcess("module", [], os.environ, hear, gone)


def no_process():
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


async def heard(condition, what):
    async def holds():
        return condition()

    await eventually(holds, 30, what)


async def test_a_publisher_that_could_not_be_started_is_tried_again(child):
    child(no_process(), no_process(), f"print('{STATS}', flush=True); {WAITS}")
    publisher = PublisherProcess(PublisherMetrics(registry := CollectorRegistry()), os.environ, FOLDER)
    publisher.start()
    await heard(lambda: publisher.state["state"] == "up", "the third attempt is heard")
    assert registry.get_sample_value("dingbridge_publisher_restarts_total") == 2
    await publisher.stop(30)


async def test_while_the_publisher_is_gone_kafka_is_not_connected(child):
    child(f"print('{STATS}', flush=True)", no_process())
    metrics = PublisherMetrics(registry := CollectorRegistry())
    publisher = PublisherProcess(metrics, os.environ, FOLDER, metrics.connected)
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
    supervised = SupervisedProcess(
        "module", [], os.environ, lambda said: numbers.append(said["number"]), lambda *_: None
    )
    supervised.start()
    await heard(lambda: numbers, "the line behind it is heard")
    await supervised.stop(30)
    assert numbers == [1]


async def test_one_that_ends_says_how_and_waits_longer_each_time(child):
    child("raise SystemExit(3)")
    ends = []
    supervised = SupervisedProcess(
        "module", [], os.environ, print, lambda why, again_in_s: ends.append((why, again_in_s))
    )
    supervised.start()
    await heard(lambda: len(ends) >= 4, "it is started again and again")
    await supervised.stop(30)
    assert ends[:4] == [(3, 0.01), (3, 0.02), (3, 0.04), (3, 0.05)]


async def test_stopping_waits_for_no_next_attempt(child, monkeypatch):
    monkeypatch.setattr(processes, "RESTART_S", (3600.0, 3600.0))
    child(no_process())
    ends = []
    supervised = run(print, lambda *end: ends.append(end))
    supervised.start()
    await heard(lambda: ends, "it could not be started")
    await supervised.stop(3600)


async def test_one_that_does_not_stop_in_time_is_killed(child):
    child("import time; print('{}', flush=True); time.sleep(3600)")
    said = []
    supervised = run(said.append, lambda *_: None)
    supervised.start()
    await heard(lambda: said, "it runs")
    await supervised.stop(0.05)
    assert not supervised.running


async def test_one_that_was_being_started_when_all_stop_ends_as_well(child, monkeypatch):
    child(WAITS)
    start, begun, go_on = asyncio.create_subprocess_exec, asyncio.Event(), asyncio.Event()

    async def slow(*arguments, **how):
        begun.set()
        await go_on.wait()
        return await start(*arguments, **how)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    supervised = run(print, lambda *_: None)
    supervised.start()
    await begun.wait()
    stopping = asyncio.ensure_future(supervised.stop(3600))
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert not supervised.running


async def test_after_stop_it_can_be_started_again(child):
    """Around the renaming of a damaged folder."""
    child(f"print('{STATS}', flush=True); {WAITS}")
    publisher = PublisherProcess(PublisherMetrics(CollectorRegistry()), os.environ, FOLDER)
    for _ in range(2):
        publisher.state = {"state": "starting"}
        publisher.start()
        await heard(lambda: publisher.state["state"] == "up", "it runs")
        await publisher.stop(30)


async def test_one_that_drains_ends_for_good_when_nothing_is_left_and_is_tried_at_once_when_asked(
    child, monkeypatch
):
    monkeypatch.setattr(processes, "DRAIN_RESTART_S", (3600.0, 3600.0))
    child("raise SystemExit(1)", "raise SystemExit(0)")
    metrics = PublisherMetrics(registry := CollectorRegistry())
    publisher = PublisherProcess(metrics, os.environ, FOLDER, drain=True)
    publisher.start()

    def ended():
        publisher.retry_parked()
        return publisher.done

    await heard(ended, "the second has drained it")
    assert registry.get_sample_value("dingbridge_publisher_restarts_total") == 0
    await publisher.stop(30)
