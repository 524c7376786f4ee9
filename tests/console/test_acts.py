"""Acts in a browser: each page on the way is accessible, and values stay text."""

from dev.stack import Stack
from tests.console.conftest import Open, Watched, push
from tests.console.test_pages import violations, violations_of_colour
from tests.support.load import event
from tests.support.waiting import wait_until

HOSTILE = '"><img src=x onerror=alert(1)>{{ 7*7 }}'
FIRST = 700_000


def accessible(one: Watched) -> None:
    one.page.emulate_media(color_scheme="light")
    assert violations(one.page) == [], one.page.url
    one.page.emulate_media(color_scheme="dark")
    assert violations_of_colour(one.page) == [], one.page.url
    one.page.set_viewport_size({"width": 400, "height": 800})
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 400, one.page.url
    one.page.set_viewport_size({"width": 1280, "height": 800})
    assert one.page.locator("main img").count() == 0, "a value is text"


def test_letters_that_are_ticked_and_the_pages_on_the_way(watched: Open, stack: Stack) -> None:
    stack.system_a.broken = True
    push(stack, (event(FIRST + n, key=f"{HOSTILE}{n}") for n in range(3)))
    one = watched("operator")
    page = one.page
    letters = f"{stack.url}/dead-letters/letters?consumer=forward-a&lang=zh"

    def given_up() -> bool:
        page.goto(f"{stack.url}/dead-letters?lang=zh")
        row = page.locator("section[aria-labelledby=of-forward-a] tbody td.number")
        return row.count() > 0 and int(row.first.inner_text()) >= 3

    wait_until(given_up, timeout_s=120, what="three dead letters on the page")
    accessible(one)
    stack.system_a.broken = False
    page.goto(letters)
    assert HOSTILE in page.inner_text("main")
    accessible(one)
    page.locator(f"tr:has-text('pi-{HOSTILE[:2]}') input[type=checkbox]").first.check()
    page.click("button[value=replay]")
    page.wait_for_url("**/confirm/*")
    assert page.locator("main form code.command").inner_text().count("--letter") == 1
    accessible(one)
    page.click("main form button")
    page.wait_for_url("**/done/*")
    assert page.locator("main dd strong").inner_text() == "1"
    accessible(one)
    # the others are given up, by all that match
    page.goto(letters)
    page.check("input[value=all]")
    page.click("button[value=skip]")
    page.wait_for_url("**/confirm/*")
    page.click("main form button")
    page.wait_for_url("**/done/*")
    assert int(page.locator("main dd strong").inner_text()) >= 2
    one.open("/dead-letters/letters?consumer=forward-a")
    assert page.locator("input[type=checkbox]").count() == 0
    assert one.faults == []
