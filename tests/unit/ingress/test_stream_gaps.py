"""Times without a Stream connection: when they are requested, how often, and what a stop or the disk may do.

That a gap is reported at all, also after a power cut or while the disk fails, the lives of the bridge show.
"""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.metrics import StreamMetrics
from dingbridge.ingress.stream import gaps as module
from dingbridge.ingress.stream.gaps import MARGIN_MS, REQUEST_EVERY_MS, Gaps
from dingbridge.settings.apps import App
from dingbridge.tasks import end
from tests.support.waiting import eventually

START = 1_731_000_000_000
MINUTE = 60_000
HR = App("hr", (), (), corp_id="dingcorp1")


class Stack:
    """Processes one after the other, a journal that outlives them, and a clock (epoch ms)."""

    def __init__(self):
        self.now, self.noted, self.orders, self.commits, self.well = START, {}, [], 0, True
        self.metrics = StreamMetrics(CollectorRegistry(), None)

    async def process(self):
        gaps = Gaps(HR, self, self.metrics, 30)
        self.running = asyncio.create_task(gaps.run())
        await gaps.known.wait()
        return gaps

    async def stop(self):
        await end(self.running)

    async def written(self):
        commits = self.commits
        await eventually(lambda: self.commits > commits, 10, "the note was written")

    async def commit(self, rows, notes=None):
        self.commits += 1
        if not self.well:
            raise JournalUnavailable("disk", "full")
        self.orders += rows
        self.noted |= notes
        return [True] * len(rows)

    async def notes(self, prefix):
        if not self.well:
            raise JournalUnavailable("disk", "gone")
        return self.noted

    @property
    def since(self):
        return [one.since_ms for one in self.orders]


@pytest.fixture
def stack(monkeypatch):
    monkeypatch.setattr(module, "_NOTE_EVERY_S", 0.01)
    made = Stack()
    monkeypatch.setattr(module, "now_ms", lambda: made.now)
    return made


async def test_the_first_start_requests_nothing_nor_does_a_short_restart_or_a_clock_that_is_set_back(stack):
    first = await stack.process()
    first.opened()
    await stack.written()
    stack.now += MINUTE
    first.closed()
    await stack.stop()
    stack.now += 30_000
    second = await stack.process()
    second.opened()
    stack.now -= 10 * MINUTE
    second.closed()
    stack.now -= MINUTE
    second.opened()
    await stack.stop()
    assert stack.orders == []
    assert stack.noted["stream/hr"].split()[0] == str(stack.now)


async def test_a_gap_counts_from_when_the_last_connection_may_have_been_gone(stack):
    gaps = await stack.process()
    gaps.opened()
    gaps.opened()
    gaps.closed()
    stack.now += MINUTE  # the other one is open all the time
    gaps.closed(unnoticed_s=30)
    ended = stack.now - 30_000
    stack.now += 1000
    gaps.opened()
    await eventually(lambda: stack.orders, 10, "requested")
    [order] = stack.orders
    assert (order.app, order.corp_id, order.since_ms) == ("hr", "dingcorp1", ended - MARGIN_MS)
    assert stack.metrics.gaps.labels("hr")._value.get() == 1
    await stack.stop()


async def test_a_kill_forgets_no_gap(stack):
    killed = await stack.process()
    killed.opened()
    stack.now += MINUTE
    await stack.written()
    last = stack.now
    stack.well = False  # what a process writes that is killed
    await stack.stop()
    stack.well = True
    stack.now += MINUTE
    second = await stack.process()
    second.opened()
    await stack.stop()
    assert stack.since == [last - MARGIN_MS]


async def test_nor_does_a_kill_right_after_the_first_start(stack, monkeypatch):
    monkeypatch.setattr(module, "_NOTE_EVERY_S", 3600)
    killed = await stack.process()
    killed.opened()
    await eventually(lambda: stack.noted, 10, "the first note")
    stack.well = False
    await stack.stop()
    stack.well = True
    stack.now += MINUTE
    second = await stack.process()
    second.opened()
    await stack.stop()
    assert stack.since == [START - MARGIN_MS]


async def test_further_gaps_within_the_hour_are_one_later_request_also_across_a_restart(stack):
    gaps = await stack.process()
    gaps.opened()
    for number in range(3):
        stack.now += 10 * MINUTE
        if number < 2:  # with a gap that waits for its request the note stays
            await stack.written()
        gaps.closed()
        stack.now += MINUTE
        gaps.opened()
        await eventually(lambda: stack.orders, 10, "the first")
    assert stack.since == [START + 10 * MINUTE - MARGIN_MS]
    await stack.stop()
    again = await stack.process()
    again.opened()
    stack.now = START + 11 * MINUTE + REQUEST_EVERY_MS - 1
    await asyncio.sleep(0.05)
    assert len(stack.orders) == 1
    stack.now += 1
    await eventually(lambda: len(stack.orders) == 2, 10, "the later request")
    assert stack.since[1] == START + 21 * MINUTE - MARGIN_MS
    await stack.stop()


async def test_a_journal_that_takes_nothing_keeps_no_process_from_stopping(stack):
    stack.well = False
    gaps = Gaps(HR, stack, stack.metrics, 30)
    stack.running = asyncio.create_task(gaps.run())
    await asyncio.sleep(0)
    await stack.stop()
    assert not gaps.known.is_set()
