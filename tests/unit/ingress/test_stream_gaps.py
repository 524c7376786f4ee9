"""Times without a Stream connection: what is owed, when it is ordered, and that a kill forgets nothing."""

import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry

from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.metrics import StreamMetrics
from dingbridge.ingress.stream import gaps as module
from dingbridge.ingress.stream.apps import Streams
from dingbridge.ingress.stream.gaps import MARGIN_MS, REQUEST_EVERY_MS, Gaps, Note
from dingbridge.tasks import end
from tests.support.waiting import eventually

START = 1_731_000_000_000
MINUTE = 60_000


def test_a_gap_is_longer_than_it_may_be():
    assert Note(START).opened(START + 30_000, 30_000) == Note(START + 30_000)
    assert Note(START).opened(START + 30_001, 30_000) == Note(START + 30_001, START - MARGIN_MS)
    earlier = START - MINUTE
    assert Note(START).opened(earlier, 30_000) == Note(earlier), "a clock that was set back"


def test_what_is_owed_covers_all_since_the_first_gap():
    first = Note(START).opened(START + MINUTE, 30_000)
    assert first.opened(START + 3 * MINUTE, 30_000).since_ms == first.since_ms == START - MARGIN_MS


@pytest.mark.parametrize(
    ("requested_ms", "due"),
    [
        (None, True),
        (START - REQUEST_EVERY_MS + 1, False),
        (START - REQUEST_EVERY_MS, True),
        (START + MINUTE, True),  # by a clock that was set back since
    ],
)
def test_an_order_is_given_once_an_hour(requested_ms, due):
    assert Note(START, START - MINUTE, requested_ms).due(START) is due
    assert not Note(START, None, requested_ms).due(START)


class Stack:
    """Processes one after the other, a journal that outlives them, and a clock (epoch ms)."""

    def __init__(self, gap_s=30):
        self.now, self.noted, self.orders, self.commits, self.well = START, {}, [], 0, True
        self.metrics, self.gap_s = StreamMetrics(CollectorRegistry(), None), gap_s

    async def process(self):
        gaps = Gaps("hr", self, self.metrics, self.gap_s)
        gaps.corp_id = "dingcorp1"
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
        return {key: value for key, value in self.noted.items() if key.startswith(prefix)}

    @property
    def since(self):
        return [one.since_ms for one in self.orders]


@pytest.fixture
def stack(monkeypatch):
    monkeypatch.setattr(module, "_NOTE_EVERY_S", 0.01)
    made = Stack()
    monkeypatch.setattr(module, "now_ms", lambda: made.now)
    return made


async def test_the_first_start_orders_nothing_and_a_short_restart_neither(stack):
    first = await stack.process()
    first.opened()
    await stack.written()
    stack.now += MINUTE
    first.closed()
    await stack.stop()
    stack.now += 20_000
    second = await stack.process()
    second.opened()
    await stack.stop()
    assert stack.orders == []
    assert json.loads(stack.noted["stream/hr"])["open_until_ms"] == stack.now


async def test_without_a_note_as_in_a_new_journal_a_gap_counts_from_the_start(stack):
    gaps = await stack.process()
    stack.now += 2 * MINUTE
    gaps.opened()
    await stack.stop()
    assert stack.since == [START - MARGIN_MS]


async def test_after_a_gap_the_order_is_committed_with_the_note(stack):
    gaps = await stack.process()
    gaps.opened()
    gaps.opened()
    gaps.closed()
    stack.now += MINUTE  # the other one is open all the time
    gaps.closed()
    ended = stack.now
    stack.now += 31_000
    gaps.opened()
    await eventually(lambda: stack.orders, 10, "ordered")
    [order] = stack.orders
    assert (order.app, order.corp_id, order.since_ms) == ("hr", "dingcorp1", ended - MARGIN_MS)
    note = json.loads(stack.noted["stream/hr"])
    assert (note["since_ms"], note["requested_ms"]) == (None, stack.now)
    assert stack.metrics.gaps.labels("hr")._value.get() == 1
    await stack.stop()


async def test_a_connection_that_was_dead_before_it_was_noticed_counts_from_then(stack):
    gaps = await stack.process()
    gaps.opened()
    stack.now += MINUTE
    gaps.closed(unnoticed_s=30)
    stack.now += 1000
    gaps.opened()
    await eventually(lambda: stack.orders, 10, "ordered")
    assert stack.since == [START + 30_000 - MARGIN_MS]
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


async def test_further_gaps_within_the_hour_are_one_later_order_also_across_a_restart(stack):
    gaps = await stack.process()
    gaps.opened()
    for _ in range(3):
        stack.now += 10 * MINUTE
        gaps.closed()
        stack.now += MINUTE
        gaps.opened()
        await stack.written()
    first_of_later = START + 21 * MINUTE
    assert stack.since == [START + 10 * MINUTE - MARGIN_MS]
    await stack.stop()
    again = await stack.process()
    again.opened()
    stack.now = START + 11 * MINUTE + REQUEST_EVERY_MS - 1
    await stack.written()
    assert len(stack.orders) == 1
    stack.now += 1
    await eventually(lambda: len(stack.orders) == 2, 10, "the later order")
    assert stack.since[1] == first_of_later - MARGIN_MS
    await stack.stop()


async def test_a_journal_that_takes_nothing_keeps_no_process_from_stopping(stack):
    async def notes(prefix):
        raise JournalUnavailable("disk", "gone")

    stack.notes = notes
    gaps = Gaps("hr", stack, stack.metrics, 30)
    stack.running = asyncio.create_task(gaps.run())
    await stack.stop()
    assert not gaps.known.is_set()


async def test_a_gap_while_the_journal_fails_is_not_forgotten(stack):
    gaps = await stack.process()
    gaps.opened()
    await stack.written()

    async def commit(rows, notes=None):
        if gaps.open:
            gaps.closed()
            stack.now += MINUTE
            gaps.opened()
        stack.commit = type(stack).commit.__get__(stack)
        raise JournalUnavailable("disk", "full")

    last, stack.commit = stack.now, commit
    stack.now += 1000
    await eventually(lambda: stack.orders, 10, "ordered")
    await stack.stop()
    assert stack.since == [last + 1000 - MARGIN_MS]


async def test_a_disk_that_hangs_takes_no_last_note_and_holds_up_no_stop(monkeypatch):
    stack = Stack()
    gaps = await stack.process()
    gaps.opened()

    async def hangs(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(stack, "commit", hangs)
    streams = Streams(None, dict, stack, stack.metrics)
    streams._gaps["hr"] = gaps, stack.running
    await asyncio.wait_for(streams.stop(0.01), 10)
    await asyncio.wait([stack.running], timeout=10)
    assert stack.running.cancelled()
