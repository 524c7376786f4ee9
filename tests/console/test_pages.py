"""Every page in both languages: no error, nothing from elsewhere, accessible, narrow, without a script."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from dev.stack import Stack
from dingbridge.console.page import MENU
from tests.console.conftest import Open, Watched, push
from tests.support.load import event
from tests.support.waiting import wait_until

PAGES = [
    # of the catalogue's 200 rows a part: axe looks at each in all its ways
    *(f"{address}?text=contact" if name == "catalogue" else address for name, address in MENU),
    "/catalogue/org_dept_create",
    "/login?to=/find",
]
LANGUAGES = {"en": "en", "zh": "zh-CN"}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""axe's rules that look at colours."""


@pytest.fixture(scope="module", autouse=True)
def _something_to_see(stack: Stack) -> None:
    push(stack, (event(number) for number in range(5)))
    stack.simulate("act", {"action": "hire"})


def with_language(path: str, language: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}lang={language}"


def violations(page: Page) -> list[str]:
    return _found(page, RULES)


def violations_of_colour(page: Page) -> list[str]:
    """What a page has wrong in another colour scheme, of which all else was looked at."""
    return _found(page, COLOURS)


def _found(page: Page, options: dict[str, Any]) -> list[str]:
    found: dict[str, Any] = Axe().run(page, options=options).response
    return [
        f"{one['id']} ({one['help']}): {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_ours_and_accessible(watched: Open, path: str, language: str) -> None:
    role = None if path.startswith("/login") else "operator"
    one = watched(role, color_scheme="light")
    page = one.open(with_language(path, language))
    assert page.get_attribute("html", "lang") == LANGUAGES[language]
    assert page.locator("h1").count() == 1
    assert page.title().endswith("· dingbridge")
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations_of_colour(page) == []
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert one.faults == []


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/tail"])
def test_a_page_can_be_read_without_a_script(watched: Open, path: str) -> None:
    role = None if path.startswith("/login") else "operator"
    with_script, bare = watched(role), watched(role, java_script_enabled=False)

    def told(one: Watched) -> list[str]:
        return one.open(path).locator("h1, h2, th, label").all_inner_texts()

    # what a page tells changes with what happens
    wait_until(lambda: told(with_script) == told(bare), what="the same with and without a script")


def test_the_tail_says_without_a_script_what_it_needs(watched: Open) -> None:
    page = watched("operator", java_script_enabled=False).open("/tail?lang=en")
    assert "needs JavaScript" in page.inner_text("noscript")


def test_the_language_stays_once_it_is_chosen(watched: Open) -> None:
    one = watched()
    page = one.open("/catalogue?text=dept")
    page.click("text=中文")
    page.wait_for_url("**lang=zh")
    assert "text=dept" in page.url
    assert one.open("/audit").get_attribute("html", "lang") == "zh-CN"
