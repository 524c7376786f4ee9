"""A person calls: the event is found by an id, and its life is on one page; whatever it says stays text."""

import pytest
from playwright.sync_api import Page

from dev.stack import Stack
from tests.console.conftest import Open, push
from tests.console.test_pages import LANGUAGES, violations, violations_of_colour, with_language
from tests.support.load import event
from tests.support.waiting import wait_until

NUMBER = 7_000_001
LINES = "all => all.map(one => [one.innerText, one.getClientRects().length])"
"""Of each element its text, and in how many lines that is."""
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>'&amp;{{7*7}}"


@pytest.fixture(scope="module", autouse=True)
def _pushed(stack: Stack) -> None:
    # of a start nobody is asked: an approval that the simulator does not know is never believed to have ended
    push(stack, [event(NUMBER, title=HOSTILE).replace(b'"type": "finish"', b'"type": "start"')])


def found(page: Page, stack: Stack, text: str) -> None:
    """Find is on the screen, and has found ``text``."""

    def there() -> bool:
        page.goto(f"{stack.url}/find?lang=en")
        page.fill("#q", text)
        page.press("#q", "Enter")
        page.wait_for_url("**/find?q=**")
        return page.locator("tbody a[href^='/event?']").count() > 0

    wait_until(there, what=f"{text} is found")


def opened(page: Page, stack: Stack, text: str) -> str:
    """The event's page; its address."""
    found(page, stack, text)
    page.click("tbody a[href^='/event?']")
    page.wait_for_url("**/event?**")
    return page.url.removeprefix(stack.url)


@pytest.mark.parametrize("language", LANGUAGES)
def test_found_and_event_are_whole_ours_and_accessible(watched: Open, stack: Stack, language: str) -> None:
    one = watched("operator", color_scheme="light")
    address = opened(one.page, stack, f"pi-{NUMBER}")
    for path in (f"/find?q=pi-{NUMBER}", address):
        page = one.open(with_language(path, language))
        assert page.locator("h1").count() == 1
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        assert violations_of_colour(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert violations(page) == []
        page.emulate_media(color_scheme="light")
        rects = page.locator("main time, main .state, main tbody th code").evaluate_all(LINES)
        assert [one for one in rects if one[1] > 1 and len(one[0]) < 32] == [], "no word is broken"
        page.set_viewport_size({"width": 1280, "height": 900})
    one.page.set_viewport_size({"width": 390, "height": 844})
    box = one.page.locator("#sentence").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 844, "what to do is in sight"
    assert one.faults == []


def test_short_words_are_not_broken_in_a_table(watched: Open, stack: Stack) -> None:
    one = watched("operator", viewport={"width": 1280, "height": 900})
    found(one.page, stack, f"pi-{NUMBER}")
    for selector, word in (("tbody code", "http"), ("tbody span.short", ".bpms_instance_change")):
        rects = one.page.locator(selector).evaluate_all(LINES)
        assert {count for text, count in rects if text.endswith(word)} == {1}, rects


@pytest.mark.parametrize("height", [900, 844])
def test_what_is_done_with_a_long_table_s_rows_stays_in_sight_and_covers_none(
    watched: Open, stack: Stack, height: int
) -> None:
    one = watched("operator", viewport={"width": 1280 if height == 900 else 390, "height": height})
    page = one.open("/find?lang=en")
    rows = f"<div class=wide tabindex=0>{'<p>a row</p>' * 200}</div>"
    form = f"<form><fieldset><button>send</button></fieldset>{rows}</form>"
    page.evaluate("form => document.querySelector('main').innerHTML = form", form)
    page.locator("p", has_text="a row").last.scroll_into_view_if_needed()
    panel, row = page.locator("fieldset").bounding_box(), page.locator("form p").last.bounding_box()
    assert panel is not None
    assert row is not None
    assert panel["y"] >= 0
    assert panel["y"] + panel["height"] <= row["y"]
    assert row["y"] + row["height"] <= height


def test_an_events_life_is_on_its_page(watched: Open, stack: Stack) -> None:
    one = watched()
    address = opened(one.page, stack, f"pi-{NUMBER}")

    def handled() -> bool:
        row = one.open(with_language(address, "en")).locator("#outcomes tr", has_text="approval").first
        return "handled" in row.inner_text()

    wait_until(handled, what="approval has handled it")
    text = one.page.inner_text("main")
    assert "by DingTalk's push over HTTP" in text
    assert "still in the journal" in text
    assert one.page.locator("details[open]").count() == 0, "folded"
    one.page.click("#came-of")
    assert HOSTILE in one.page.inner_text("#came"), "as it came, and text"
    one.page.click("#envelope-of")
    assert HOSTILE in one.page.inner_text("#envelope")
    assert one.faults == []
    bare = watched("operator", java_script_enabled=False).open(address)
    bare.click("#came-of")
    assert HOSTILE in bare.inner_text("#came")
    assert bare.locator("button[data-copy]:visible").count() == 0, "what needs a script is not there without"
    masked = watched("viewer").open(address)
    assert "alert" not in masked.inner_text("main")
