"""Tail in a browser: 200 events a second for long neither grow the page nor the server's memory of it."""

from typing import Any

from playwright.sync_api import Page

from dev.stack import Stack
from dingbridge.console.pages.tail import MOST_ROWS
from dingbridge.simulator.kafka.server import in_own_loop
from tests.console.conftest import PATIENCE_MS, Open
from tests.support.load import CORP, event
from tests.support.pusher import Pusher
from tests.support.waiting import wait_until

FIRST = 500_000
PER_SECOND = 200


def push_evenly(stack: Stack, numbers: range) -> None:
    """``PER_SECOND`` callbacks a second, each of a key of its own."""
    import asyncio

    async def push() -> None:
        pusher = Pusher(stack.callback_url, retries=2)
        for begin in range(numbers.start, numbers.stop, PER_SECOND // 10):
            some = ((n, event(n)) for n in range(begin, min(begin + PER_SECOND // 10, numbers.stop)))
            await asyncio.gather(pusher.push_all(some), asyncio.sleep(0.1))

    in_own_loop(push())


def size_of(page: Page) -> dict[str, Any]:
    size: dict[str, Any] = page.evaluate(
        "() => ({rows: document.querySelectorAll('#tail tbody tr').length,"
        " elements: document.querySelectorAll('*').length,"
        " told: Number(document.querySelector('[data-shown]').textContent)"
        " + Number(document.querySelector('[data-left-out]').textContent)})"
    )
    return size


def test_two_hundred_events_a_second_are_followed_without_growth(watched: Open, stack: Stack) -> None:
    one = watched("viewer")
    page = one.open(f"/tail?corp={CORP}&lang=en")
    session = page.context.new_cdp_session(page)

    def heap() -> int:
        session.send("HeapProfiler.collectGarbage")
        return int(session.send("Runtime.getHeapUsage")["usedSize"])

    def told(count: int) -> None:
        wait_until(lambda: size_of(page)["told"] >= count, what=f"{count} events on the page")

    push_evenly(stack, range(FIRST, FIRST + 1_000))
    told(1_000)
    before, heap_before = size_of(page), heap()
    assert before["rows"] == MOST_ROWS
    push_evenly(stack, range(FIRST + 1_000, FIRST + 3_000))
    told(3_000)
    after, heap_after = size_of(page), heap()
    assert (after["rows"], after["elements"]) == (MOST_ROWS, before["elements"])
    assert heap_after < heap_before + (1 << 20), f"{heap_before} → {heap_after} bytes"
    newest = page.locator("#tail tbody tr").first
    assert newest.locator("[data-cell=corp]").inner_text() == CORP
    assert one.faults == []


def test_a_tail_pauses_and_its_filters_are_in_the_address(watched: Open, stack: Stack) -> None:
    one = watched("viewer")
    page = one.open("/tail?lang=en")
    page.fill("#subject", f"pi-{FIRST + 9_000}")
    page.click("form.filter button")
    page.wait_for_url(f"**subject=pi-{FIRST + 9_000}")
    push_evenly(stack, range(FIRST + 8_990, FIRST + 9_010))
    page.wait_for_selector(f"#tail tbody >> text=pi-{FIRST + 9_000}", timeout=PATIENCE_MS)
    assert size_of(page)["rows"] == 1
    page.click("[data-pause]")
    assert page.get_attribute("[data-pause]", "aria-pressed") == "true"
    in_own_loop(Pusher(stack.callback_url, retries=2).push_all([(1, event(FIRST + 9_001, FIRST + 9_000))]))
    wait_until(lambda: page.inner_text("[data-left-out]") == "1", what="one that was left out")
    assert size_of(page)["rows"] == 1
    page.locator("#tail tbody a").click()
    page.wait_for_url("**/event?**")
    assert one.faults == []
