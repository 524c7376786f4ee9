"""System A breaks: Now says what waits, until the last letter is sent back from the page."""

import re

from playwright.sync_api import Page

from dev.stack import Stack
from tests.console.conftest import Open, push
from tests.support.load import event
from tests.support.waiting import wait_until

FIRST = 700_000
LETTERS = 2
BRANCH = "forward-a"


def waiting_on(page: Page) -> int:
    """How many wait at the branch of System A, as the picture's description says."""
    told = page.locator("svg.line-wide desc").text_content() or ""
    found = re.search(rf"{BRANCH}: \w+, waiting here: ([\d,]+)", told)
    return int(found[1].replace(",", "")) if found else 0


def test_now_says_what_waits_until_the_last_letter_is_sent_back(watched: Open, stack: Stack) -> None:
    one = watched("operator", viewport={"width": 390, "height": 844})
    page = one.open("/?lang=en")
    wait_until(lambda: waiting_on(page) == 0 and page.locator("svg.line").count() == 2, what="a quiet line")
    stack.system_a.broken = True
    push(stack, (event(FIRST + number) for number in range(LETTERS)))
    wait_until(lambda: waiting_on(page) == LETTERS, timeout_s=120, what="the letters on the line")
    stack.system_a.broken = False

    # nothing grows any more, and the page goes on saying so by itself
    looked = page.locator("caption time").first.get_attribute("datetime")
    wait_until(
        lambda: page.locator("caption time").first.get_attribute("datetime") != looked, what="a new look"
    )
    assert waiting_on(page) == LETTERS
    assert page.locator("#now .state.good", has_text="Nothing waits").count() == 0
    assert page.locator("svg.line-tall").is_visible()
    assert not page.locator("svg.line-wide").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    for left in range(LETTERS - 1, -1, -1):
        page.locator("#now a", has_text="dead letter").first.click()
        page.locator(f"section[aria-labelledby=of-{BRANCH}] tbody a").first.click()
        page.locator("main input[type=checkbox]").first.check()
        page.locator("main button[value=replay]").click()
        page.wait_for_url("**/confirm/*")
        page.locator("main form button").click()
        page.wait_for_selector("section.result")
        one.open("/?lang=en")
        wait_until(lambda left=left: waiting_on(page) == left, what=f"{left} letters on the line")
    wait_until(
        lambda: BRANCH not in page.locator("#sentence").inner_text(), what="nothing of System A is wrong"
    )
    assert one.faults == []


def test_a_page_that_gets_no_answer_is_grey_and_says_since_when(watched: Open) -> None:
    one = watched("viewer")
    for path in ("/?lang=en", "/consumers?lang=en"):
        page = one.open(path)
        page.context.set_offline(True)
        page.wait_for_selector("body[data-stale] #stale time:not(:empty)")
        page.context.set_offline(False)
        page.wait_for_selector("body:not([data-stale])")
        assert not page.locator("#stale").is_visible()
    # the browser itself says of each request that it got no answer
    assert not [fault for fault in one.faults if fault.startswith("asks ")]
