"""System A breaks, events become dead letters, it is mended, they are sent back by keys alone."""

import re

from playwright.sync_api import Page

from dev.stack import Stack
from tests.console.conftest import Open, push
from tests.support.load import event
from tests.support.sizes import sized
from tests.support.waiting import wait_until

LETTERS = sized(150, 1_000)
"""More than a page of them."""
FIRST = 100_000


def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until the element that has the focus is one of which ``wanted`` is true, in its ``e``."""
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.evaluate(f"() => {{ const e = document.activeElement; return Boolean({wanted}); }}"):
            return
    raise AssertionError(f"no Tab leads to {wanted} on {page.url}")


def number_in(page: Page, selector: str) -> int:
    found = re.search(r"[\d,]+", page.locator(selector).first.inner_text())
    assert found is not None
    return int(found[0].replace(",", ""))


def test_a_thousand_dead_letters_are_counted_sent_back_and_taken(watched: Open, stack: Stack) -> None:
    taken_before = len(stack.system_a.taken)
    stack.system_a.broken = True
    push(stack, (event(FIRST + number) for number in range(LETTERS)))
    one = watched("operator")
    page = one.page

    def all_there() -> bool:
        page.goto(f"{stack.url}/dead-letters?lang=en")
        row = page.locator("section[aria-labelledby=of-forward-a] tbody tr")
        return (
            row.count() > 0 and number_in(page, "section[aria-labelledby=of-forward-a] td.number") >= LETTERS
        )

    wait_until(all_there, timeout_s=240, what="all dead letters on the page")
    stack.system_a.broken = False

    tab_to(page, "e.closest('section[aria-labelledby=of-forward-a] tbody')")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dead-letters/letters?**")
    lines = page.locator("tbody span.short").evaluate_all(
        "all => all.map(one => one.getClientRects().length)"
    )
    assert set(lines) == {1}, "an id stays on one line"
    tab_to(page, "e.name === 'which'")
    page.keyboard.press("ArrowDown")
    tab_to(page, "e.name === 'act' && e.value === 'replay'")
    page.keyboard.press("Enter")
    page.wait_for_url("**/confirm/*")
    told = number_in(page, "main strong")
    assert told == LETTERS
    assert len(stack.system_a.taken) == taken_before  # counting has sent nothing
    shown = page.locator("main form code.command").inner_text()
    tab_to(page, "e.tagName === 'BUTTON' && e.closest('main')")
    page.keyboard.press("Enter")
    page.wait_for_url("**/done/*")
    page.locator("main dd strong").wait_for(timeout=300_000)
    result = page.url
    assert number_in(page, "main dd strong") == told
    taken = stack.system_a.taken
    wait_until(lambda: len(taken) - taken_before >= told, timeout_s=240, what="System A has taken them")
    assert len(set(taken[taken_before:])) == told

    page.reload()
    page.go_back()
    page.go_forward()
    assert number_in(page, "main dd strong") == told
    assert page.url == result, "a refresh, and the way back and forth, send nothing"

    one.open("/audit?lang=en")
    row = page.locator("tbody tr", has_text="command ended").first.inner_text()
    assert shown in row
    assert f"{told:,}" in row
    assert one.faults == []
