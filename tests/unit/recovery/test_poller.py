"""The poller, killed at every place that it reaches, twice at once, and refused."""

import asyncio
import contextlib
import time
from types import SimpleNamespace

import pytest

from dingbridge.dingtalk.errors import BudgetSpent, QuotaSpent, TokenInvalid, Unavailable
from dingbridge.errors import BridgeError
from dingbridge.events import Received, to_records
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.recovery.apps import AppRecovery
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App
from dingbridge.simulator.pushes.failed import FailedList
from dingbridge.tasks import end
from tests.lives.clock import jumping
from tests.unit.recovery.memory import CORP, Died, Disk, Process, item, listed

API = "get_call_back_failed_result"


PAGE, COUNT = 4, 9


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr("dingbridge.simulator.pushes.failed.PAGE", PAGE)


async def test_a_list_is_read_to_its_end_and_enters_the_journal_once():
    process = Process(listed(COUNT))
    result = await process.poller.run()
    assert (result.items, result.pages, len(process.disk.callbacks)) == (COUNT, 3, COUNT)
    again = await process.poller.run()
    assert (again.items, again.pages) == (0, 1)
    assert len(process.disk.callbacks) == COUNT
    assert not process.disk.requests
    assert process.poller.read_at_s > 0


async def test_killed_at_every_place_nothing_is_lost_that_is_not_counted():
    """For each place that a run reaches, and each time: a process dies there, and is started again."""
    whole = Process(listed(COUNT))
    await whole.poller.run()
    assert {"before commit", "after commit", "before call", "after call"} == set(whole.reached)
    for nth in range(len(whole.reached)):
        failed, disk = listed(COUNT), Disk()
        first = Process(failed, disk)
        first.on_reach = lambda _, p=first, nth=nth: len(p.reached) > nth and p.die()
        with contextlib.suppress(Died):
            await first.poller.run()
        second = Process(failed, disk)
        await second.poller.run()
        if second.missing:
            assert second.missing == 1, nth
            assert [request.id.partition("/")[0] for request in disk.requests] == ["page"], nth
            assert COUNT - len(disk.callbacks) in (0, 1, PAGE), nth
        else:
            assert disk.bodies() == whole.disk.bodies(), nth
            assert not disk.requests, nth
        third = Process(failed, disk)
        result = await third.poller.run()
        assert (result.items, result.pages_missing) == (0, 0)


async def test_two_pollers_lose_nothing():
    """Each keeps what was given to it, however their calls and commits interleave."""
    failed = listed(COUNT)
    processes = [Process(failed) for _ in range(2)]
    results = await asyncio.gather(*(process.poller.run() for process in processes))
    assert sum(result.items for result in results) == COUNT
    assert len({body for process in processes for body in process.disk.bodies()}) == COUNT
    assert not any(process.missing for process in processes)


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (TokenInvalid("refused", api=API, errcode=40014), False),
        (QuotaSpent("spent", api=API, errcode=90020), False),
        (BudgetSpent("spent", api=API, retry_after_s=5.0), False),
        (Unavailable("banned", api=API, retry_after_s=300.0, about="address"), False),
        (Unavailable("no token", api="gettoken"), False),
        (Unavailable("the connection broke", api=API), True),
        (Unavailable("busy", api=API, errcode=-1), True),
    ],
)
async def test_only_a_call_that_may_have_been_answered_counts_as_a_page_that_may_be_gone(error, gone):
    process = Process(listed(3))
    process.raises = error
    with pytest.raises(BridgeError):
        await process.poller.run()
    assert (process.missing, len(process.disk.requests)) == (gone, gone)
    assert not process.disk.noted, "nothing is owed any more"


async def test_poor_items_are_asked_for_once_a_page_and_the_others_are_events():
    failed = FailedList()
    for number in range(30):
        failed.add(item(number))
        failed.add({"user_modify_org": f"{{corpid={CORP}}}", "call_back_tag": "user_modify_org"})
    process = Process(failed)
    result = await process.poller.run()
    assert (len(process.disk.callbacks), result.items) == (30, 60)
    assert len(process.disk.requests) == result.resync_requests == result.pages
    assert {(r.app, r.corp_id, r.part) for r in process.disk.requests} == {("default", CORP, "contacts")}
    assert len({r.id for r in process.disk.requests}) == result.pages


async def test_a_list_without_an_end_is_not_asked_without_end():
    """Seen of a platform that answers ``has_more`` with an empty page: 76,000 calls in 2 s."""
    process = Process(FailedList())
    process.failed.read = lambda: ([], True)
    process.on_reach = lambda _: len(process.reached) < 50 or process.die()
    with pytest.raises(BridgeError, match="does not end: after 2 pages and 0 items"):
        await process.poller.run()
    assert not process.disk.noted, "nothing is owed"
    assert process.poller.read_at_s == 0


@pytest.mark.parametrize("timed", [True, False])
async def test_events_in_the_same_words_are_as_many_events(timed):
    """Three changes of one schedule, in a type that has neither id nor time of its own, on one page."""
    failed = FailedList()
    schedule = {"DataList": [{"corpId": CORP, "userIds": ["u1"], "type": "modify"}]}
    for minute in range(3):
        listed_at = {"event_time": 1_731_000_000_000 + minute * 60_000} if timed else {}
        failed.add({"attendance_schedule_change": schedule, **listed_at})
    process = Process(failed)
    await process.poller.run()
    ids = {
        record.id
        for row in process.disk.callbacks.values()
        for record in to_records(Received(1, "j", row.received_ms, row.app, row.via, row.body))
    }
    assert len(ids) == 3


async def test_a_page_that_the_journal_does_not_take_may_be_gone_and_stops_the_reading():
    process = Process(listed(COUNT))

    def full(place):
        if place == "before commit" and "after call" in process.reached:
            raise JournalUnavailable("disk", "the disk is full")

    process.on_reach = full
    with pytest.raises(JournalUnavailable):
        await process.poller.run()
    assert process.reached.count("after call") == 1
    process.on_reach = lambda place: None
    result = await process.poller.run()
    assert (len(process.disk.callbacks), result.pages_missing) == (COUNT - PAGE, 1)
    assert [(request.app, request.since_ms) for request in process.disk.requests] == [("default", None)]


async def test_without_a_note_of_the_intent_nothing_is_called():
    process = Process(listed(COUNT))

    def full(place):
        raise JournalUnavailable("disk", "the disk is full")

    process.on_reach = full
    with pytest.raises(JournalUnavailable):
        await process.poller.run()
    assert "before call" not in process.reached


async def test_one_that_is_stopping_begins_no_further_page():
    process = Process(listed(COUNT))
    process.on_reach = lambda place: process.poller.stop() if place == "after call" else None
    result = await process.poller.run()
    assert (result.pages, len(process.disk.callbacks)) == (1, PAGE)
    assert not process.disk.noted


# -- When the failed list is read


class Timed(AppRecovery):
    """Whose runs are noted, in s since the start; the next ``failing`` fail."""

    def __init__(self):
        self.app, self._journal = App("hr", (), ()), SimpleNamespace(fault=None)
        self._settings = IngressSettings.model_construct(recovery_after_outage_s=300)
        self.runs, self.failing = [], 0

    async def run(self):
        self.runs.append(round(time.monotonic()))
        self.failing -= 1
        if self.failing >= 0:
            raise BridgeError("no")


def test_a_list_is_read_after_a_start_an_outage_and_a_failure_and_then_hourly(monkeypatch):
    monkeypatch.setattr("dingbridge.retry.JITTER", 0)

    async def hours(timed):
        task = asyncio.create_task(timed._regularly())
        await asyncio.sleep(4100)
        timed._journal.fault = "the disk is full"
        await asyncio.sleep(4000)
        timed._journal.fault, timed.failing = None, 5
        await asyncio.sleep(15_000)
        await end(task)

    with jumping() as loop:
        timed = Timed()
        loop.run_until_complete(hours(timed))
    starts = [300, 3900, 8400, 8700, 9300, 10_500, 12_900, 16_500, 20_100]
    assert [abs(run - start) < 15 for run, start in zip(timed.runs, starts, strict=True)] == [True] * 9
