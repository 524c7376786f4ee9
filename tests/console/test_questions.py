"""The two questions of a caller, each answered in four clicks by what people call it, in both languages."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from dev.stack import Stack
from tests.console.conftest import Open
from tests.console.test_pages import LANGUAGES, violations, violations_of_colour, with_language
from tests.support.waiting import wait_until

NAME = "诸葛问"
MENU = {"en": "Find", "zh": "查找"}
DEAD = {"en": "dead letter", "zh": "死信"}
GIVEN_UP = {"en": "forward-a has given it up", "zh": "forward-a 已放弃此事件"}
WHY = "422"


@pytest.fixture(scope="module")
def person(stack: Stack) -> Iterator[str]:
    """The userid of somebody who is moved, and asks for an approval, while System A refuses everything."""
    [hired] = act(stack, "hire", "user_add_org", name=NAME, follow_up=False)
    userid = str(next(hired[key] for key in ("UserId", "userId") if key in hired)[0])
    stack.system_a.broken = True
    act(stack, "move", "user_modify_org", userid=userid)
    act(stack, "start_approval", "bpms_instance_change", userid=userid)
    yield userid
    stack.system_a.broken = False
    stack.dingbridge("dlq", "replay", "forward-a", "--yes")


def act(stack: Stack, action: str, event_type: str, **arguments: object) -> list[dict[str, Any]]:
    """The payloads of the action's events of this type."""
    events = stack.simulate("act", {"action": action, **arguments})["events"]
    return [one["payload"] for one in events if one["event_type"] == event_type]


def answered(page: Page, stack: Stack, language: str, text: str, hit: str, event_type: str) -> None:
    """Four clicks from the first page: Find, its button, ``hit``, the event of this type that is dead. The
    event's first sentence says who gave it up, and why."""
    page.goto(stack.url + with_language("/", language))
    page.click(f"nav >> text={MENU[language]}")
    page.fill("#q", text)
    page.click("form[role=search] button")
    page.click(f"tbody th a:text-is('{hit}')")
    row = page.locator("tbody tr", has_text=event_type).filter(has_text=DEAD[language]).first
    row.locator("th a").click()
    page.wait_for_url("**/event?**")
    sentence = page.inner_text("#sentence")
    assert GIVEN_UP[language] in sentence
    assert WHY in sentence


def is_known(page: Page, stack: Stack, text: str, hit: str, event_type: str) -> bool:
    """The tables have whom ``hit`` calls, and forward-a has given up the event."""
    page.goto(f"{stack.url}/find?lang=en&q={text}")
    found = page.locator(f"tbody th a:text-is('{hit}')")
    if found.count() == 0:
        return False
    found.first.click()
    page.wait_for_url("**/find?q=**")
    rows = page.locator("tbody tr", has_text=event_type).filter(has_text=DEAD["en"])
    return rows.filter(has_text="forward-a").count() > 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_system_missed_is_found_by_a_persons_name(
    watched: Open, stack: Stack, person: str, language: str
) -> None:
    one = watched("reader")
    wait_until(
        lambda: is_known(one.page, stack, NAME, NAME, "user_modify_org"), what="the transfer is given up"
    )
    answered(one.page, stack, language, NAME, NAME, "user_modify_org")
    assert person in one.page.inner_text("main")
    assert one.faults == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_approval_that_did_not_arrive_is_found_by_its_title(
    watched: Open, stack: Stack, person: str, language: str
) -> None:
    one = watched("reader")

    def title() -> str | None:
        one.page.goto(f"{stack.url}/find?lang=en&q={NAME}")
        approval = one.page.locator("tbody th a", has_text=f"{NAME}提交的")
        return approval.first.inner_text() if approval.count() else None

    called = wait_until(title, what="approval has the approval")
    wait_until(
        lambda: is_known(one.page, stack, called, called, "bpms_instance_change"), what="it is given up"
    )
    answered(one.page, stack, language, called, called, "bpms_instance_change")
    assert one.faults == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_name_finds_is_whole_and_accessible(
    watched: Open, stack: Stack, person: str, language: str
) -> None:
    one = watched("reader", color_scheme="light")
    wait_until(
        lambda: is_known(one.page, stack, NAME, NAME, "user_modify_org"), what="the transfer is given up"
    )
    for text in (NAME, person):
        page = one.open(with_language(f"/find?q={text}", language))
        assert page.locator("tbody tr").count() > 0
        page.emulate_media(color_scheme="light")
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        assert violations_of_colour(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert violations(page) == []
        page.set_viewport_size({"width": 1280, "height": 900})
    masked = watched("viewer").open(with_language(f"/find?q={person}", language))
    assert masked.locator("tbody tr", has_text="user_modify_org").count() > 0
    assert NAME not in masked.inner_text("main")
    assert one.faults == []
