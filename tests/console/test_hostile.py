"""What DingTalk, or somebody in its name, may write into an event stays text on every page that shows it."""

import json
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from dev.stack import Stack
from tests.console.conftest import Open, push
from tests.support.load import CORP, EVENT_TYPE
from tests.support.waiting import wait_until

HOSTILE = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "template": "{{7*7}}{% raw %}{{ config }}",
    "quotes": "\"'><svg onload=alert(3)> onmouseover=alert(4) x='",
    "bidi": "\u202egnp.exe\u2066\u200b",
    "htmx": "<div hx-get=/logout hx-trigger=load hx-on:click=alert(5)></div>",
    "url": "javascript:alert(6)",
}
LARGE = "很长" * 125_000
"""0.75 MB as UTF-8; encrypted and in base64 just below the ingress's limit of 1 MiB."""


def approval(name: str, title: str) -> bytes:
    payload = {
        "EventType": EVENT_TYPE,
        "type": "finish",
        "result": "agree",
        "processInstanceId": f"hostile-{name}",
        "corpId": CORP,
        "createTime": 1_731_000_000_000,
        "finishTime": 1_731_000_000_500,
        "title": title,
        "staffId": title[:100],
        title[:60]: title[:100],
    }
    return json.dumps(payload, ensure_ascii=False).encode()


@pytest.fixture(scope="module", autouse=True)
def _pushed(stack: Stack) -> None:
    push(stack, [approval(name, text) for name, text in HOSTILE.items()] + [approval("large", LARGE)])


def event_page(page: Page, origin: str, name: str) -> Page:
    """The event's own page, by the way that a person takes: Find, its first event; all of it unfolded."""

    def found() -> bool:
        page.goto(f"{origin}/find?q={quote(f'hostile-{name}')}")
        return page.locator("main a[href^='/event?']").count() > 0

    wait_until(found, what=f"Find knows hostile-{name}")
    page.locator("main a[href^='/event?']").first.click()
    page.wait_for_url("**/event?**")
    for folded in page.locator("main details:not([open]) > summary").all()[::-1]:
        folded.click()
    return page


@pytest.mark.parametrize("name", HOSTILE)
def test_what_an_event_holds_stays_text(watched: Open, stack: Stack, name: str) -> None:
    one = watched("reader")
    page = event_page(one.page, stack.url, name)
    text = page.inner_text("main")
    assert f"hostile-{name}" in text
    assert HOSTILE[name].replace('"', '\\"') in text.replace("\n", "") or HOSTILE[name] in text
    assert "49" not in page.locator("pre").all_inner_texts()[0] or name != "template"
    assert page.locator("main svg, main img, main script, main [hx-get*=logout]").count() == 0
    assert page.locator("main a[href^='javascript']").count() == 0
    assert one.faults == []


def test_a_page_of_a_large_event_opens(watched: Open, stack: Stack) -> None:
    one = watched("reader")
    assert "hostile-large" in event_page(one.page, stack.url, "large").inner_text("main")
    assert one.faults == []
