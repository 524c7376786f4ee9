"""The poller, killed at every place that it reaches, twice at once, frozen, and refused."""

import asyncio
import contextlib
import time

import pytest

from dingbridge.dingtalk.errors import BudgetSpent, QuotaSpent, TokenInvalid, Unavailable
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.events.control import RESYNC_REQUESTED
from ingress.errors import JournalUnavailable
from ingress.recovery.poller import AnotherPolls
from simulator.pushes.failed import FailedList
from tests.unit.recovery.memory import CORP, LEASE_S, Broker, Died, Process, item, listed

API = "get_call_back_failed_result"
PAGE, COUNT = 4, 9


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr("simulator.pushes.failed.PAGE", PAGE)


async def run(process):
    return await process.poller.run()


def bodies(journal):
    return sorted(entry.body for entry in journal.values())


async def whole():
    """A run that nothing happens to: what it reaches, and what stands in the journal."""
    journal = {}
    process = Process(Broker(), listed(COUNT), journal)
    await run(process)
    return process, journal


async def test_a_list_is_read_to_its_end_and_enters_the_journal_once():
    process, journal = await whole()
    assert len(journal) == COUNT
    assert process.broker.kinds() == [
        "claim",
        *["intent", "page", "entered"] * 3,
        *["end", "release"],
    ]
    again = await run(process)
    assert (again.items, again.pages) == (0, 1)
    assert len(journal) == COUNT
    assert not process.broker.sent


async def test_killed_at_every_place_nothing_is_lost_that_is_not_counted():
    """For each place that a run reaches: a process dies there, another one comes when the lease has ended."""
    whole_process, wanted = await whole()
    places = list(dict.fromkeys(whole_process.reached))
    assert {"after intent", "before call", "after call", "before page", "after page"} <= set(places)
    assert {"before store", "after store", "before entered", "after end"} <= set(places)
    for place in places:
        for nth in (1, 2):
            broker, failed, journal = Broker(), listed(COUNT), {}
            first = Process(broker, failed, journal)
            seen = 0

            def die(reached, place=place, nth=nth, first=first):
                nonlocal seen
                seen += reached == place
                if reached == place and seen == nth:
                    first.dead = True
                    raise Died

            first.on_reach = die
            with contextlib.suppress(Died):
                await run(first)
            first.dead = True
            broker.now_ms += round(LEASE_S * 1000)
            second = Process(broker, failed, journal)
            await run(second)
            lost = len(wanted) - len(journal)
            missing = second.metrics.pages_missing._value.get()
            assert bodies(journal) == bodies(wanted) or missing == 1, (place, nth)
            asked = {topic for (topic, _), event in broker.orders() if event.type == RESYNC_REQUESTED}
            if missing:
                assert asked == {"ctl-dingtalk.inbox.address-sync", "ctl-dingtalk.inbox.approval"}
                assert lost in (0, PAGE)
            else:
                assert not asked
                assert lost == 0
            # a third finds nothing owed
            third = Process(broker, failed, journal)
            result = await run(third)
            assert (result.items, result.pages_missing) == (0, 0)


async def test_killed_between_order_and_its_note_it_is_the_same_order_again():
    broker, failed, journal = Broker(), listed(6), {}
    with pytest.raises(Died):
        await run(Process(broker, failed, journal, dies_at="after call"))
    broker.now_ms += round(LEASE_S * 1000)
    with pytest.raises(Died):
        await run(Process(broker, failed, journal, dies_at="before ordered"))
    broker.now_ms += round(LEASE_S * 1000)
    await run(Process(broker, failed, journal))
    assert len(broker.sent) == 4
    assert len(broker.orders()) == 2


async def test_two_started_at_once_one_polls():
    broker, failed = Broker(), listed(COUNT)
    processes = [Process(broker, failed, {}) for _ in range(2)]
    results = await asyncio.gather(*(run(p) for p in processes), return_exceptions=True)
    assert sorted(type(r).__name__ for r in results) == ["AnotherPolls", "Result"]
    assert sorted(len(p.journal) for p in processes) == [0, COUNT]
    assert "ordered" not in broker.kinds()


@pytest.mark.parametrize("place", ["before intent", "after intent", "before call", "after call"])
async def test_one_that_was_frozen_is_taken_over_from_and_loses_nothing(place):
    """Between intent and call it finds that its time is over. In the midst of the call nothing can hold it:
    then its page is in its hands, and enters all the same."""
    broker, failed, journal = Broker(), listed(COUNT), {}
    frozen = Process(broker, failed, journal, freezes_at=place)
    first = asyncio.create_task(run(frozen))
    await frozen.still.wait()
    broker.now_ms += 3600 * 1000
    other = Process(broker, failed, journal)
    await run(other)
    frozen.thawed.set()
    with pytest.raises(AnotherPolls):
        await first
    taken_for_missing = place != "before intent"
    assert other.metrics.pages_missing._value.get() == taken_for_missing
    assert len(broker.orders()) == 2 * taken_for_missing
    assert frozen.reached.count("after call") == (place in ("before call", "after call"))
    assert failed.read() == ([], False)
    last = Process(broker, failed, journal)  # whatever the frozen one brought is entered at the latest now
    await run(last)
    assert len(journal) == COUNT


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (TokenInvalid("refused", api=API, errcode=40014), False),
        (QuotaSpent("spent", api=API, errcode=90020), False),
        (BudgetSpent("spent", api=API, retry_after_s=5.0), False),
        (Unavailable("banned", api=API, retry_after_s=300.0), False),
        (Unavailable("no token", api="gettoken"), False),
        (Unavailable("the connection broke", api=API), True),
        (Unavailable("busy", api=API, errcode=-1), True),
        (TimeoutError(), True),
    ],
)
async def test_only_a_call_that_may_have_been_answered_counts_as_a_page_that_may_be_gone(error, gone):
    broker = Broker()
    process = Process(broker, listed(3), {})
    process.source.raises = error
    with pytest.raises((BridgeError, TimeoutError)):
        await run(process)
    assert process.metrics.pages_missing._value.get() == gone
    assert len(broker.orders()) == 2 * gone
    assert broker.kinds()[-1] == "release"


async def test_poor_items_are_asked_for_once_a_page_and_the_others_are_events():
    failed = FailedList()
    for number in range(30):
        failed.add(item(number))
        failed.add({"user_modify_org": f"{{corpid={CORP}}}", "call_back_tag": "user_modify_org"})
    broker, journal = Broker(), {}
    process = Process(broker, failed, journal)
    result = await run(process)
    assert len(journal) == 30
    assert result.items == 60
    orders = broker.orders()
    assert len(orders) == result.pages
    for (topic, _), event in orders:
        assert (topic, event.corp_id) == ("ctl-dingtalk.inbox.address-sync", CORP)
        assert event.data["part"] == "all"


async def test_5000_items_are_read_page_by_page(monkeypatch):
    monkeypatch.setattr("simulator.pushes.failed.PAGE", 200)
    process = Process(Broker(), listed(5000), {})
    began = time.perf_counter()
    result = await run(process)
    print(f"5,000 items in memory: {5000 / (time.perf_counter() - began):,.0f} items/s")
    assert (result.items, result.pages, len(process.journal)) == (5000, 25, 5000)


async def test_an_unknown_end_is_read_again_and_a_recent_one_is_not():
    broker = Broker()
    process = Process(broker, listed(1), {})
    await run(process)
    at_ms = broker.now_ms
    assert (await process.poller.run(unless_since_ms=at_ms - 1000)).skipped
    assert not (await process.poller.run(unless_since_ms=at_ms + 1000)).skipped
    assert process.metrics.last_success._value.get() > 0


async def test_a_page_that_kafka_does_not_take_enters_the_journal_all_the_same():
    broker, failed, journal = Broker(), listed(COUNT), {}
    process = Process(broker, failed, journal)

    def away(place):
        if place == "before page":
            raise KafkaUnavailable("away")

    process.on_reach = away
    with pytest.raises(KafkaUnavailable):
        await run(process)
    assert len(journal) == PAGE
    later = Process(broker, failed, journal)
    await run(later)
    assert len(journal) == COUNT
    assert later.metrics.pages_missing._value.get() == 1


async def test_a_journal_that_takes_no_write_costs_no_page_and_stops_the_reading():
    broker, failed, journal = Broker(), listed(COUNT), {}
    process = Process(broker, failed, journal)

    def full(place):
        if place == "before store":
            raise JournalUnavailable("disk", "the disk is full")

    process.on_reach = full
    with pytest.raises(JournalUnavailable):
        await run(process)
    assert process.reached.count("after call") == 1
    process.on_reach = lambda place: None
    result = await run(process)
    assert (len(journal), result.pages_missing) == (COUNT, 0)


async def test_one_that_is_stopping_begins_no_further_page():
    process = Process(Broker(), listed(COUNT), {})
    process.on_reach = lambda place: process.poller.stop() if place == "after page" else None
    result = await run(process)
    assert (result.pages, len(process.journal)) == (1, PAGE)
    assert process.broker.kinds()[-2:] == ["entered", "release"]
