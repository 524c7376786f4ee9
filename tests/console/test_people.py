"""Who may see and do what, in a browser: logins, roles, other people's pages."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dev.stack import PASSWORDS, Stack
from dingbridge.console.page import MENU
from tests.console.conftest import Open


@pytest.fixture
def foreign_page(stack: Stack) -> Iterator[str]:
    """A page of somebody else's, on another port of this machine, that acts at the console, or frames it."""
    acts = f"""<!doctype html><title>x</title><form id=f method=post action="{stack.url}/logout">
    <input name=csrf value=guessed></form><script>document.getElementById("f").submit()</script>"""
    frames = f'<!doctype html><title>x</title><iframe src="{stack.url}/audit"></iframe>'

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write((frames if "frame" in self.path else acts).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_a_login_by_keys_alone_leads_where_one_wanted_to_go_and_out_again(
    watched: Open, stack: Stack
) -> None:
    one = watched(None)
    page = one.page
    page.goto(f"{stack.url}/catalogue?text=dept")
    assert "/login?to=" in page.url
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "name"
    page.keyboard.type("reader")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORDS["reader"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/catalogue?text=dept")
    while page.evaluate("document.activeElement.textContent") != "Log out":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login")
    page.go_back()
    page.wait_for_url("**/login**")
    assert one.faults == []


def test_another_page_can_do_nothing_here(watched: Open, foreign_page: str, stack: Stack) -> None:
    one = watched("operator")
    with one.page.expect_navigation(url=f"{stack.url}/logout") as navigation:
        one.page.goto(foreign_page, wait_until="commit")
    assert navigation.value.status == 403
    page = one.open("/audit")  # still logged in, and it is written down
    row = page.locator("tbody tr").first.inner_text()
    assert "refused" in row
    assert "foreign origin" in row


def test_no_page_can_be_framed(watched: Open, foreign_page: str, stack: Stack) -> None:
    page = watched("operator").page
    page.goto(f"{foreign_page}?frame")  # is loaded when its frame is
    [_, frame] = page.frames
    assert frame.url.startswith("chrome-error:")  # it refuses to show it


def test_a_viewer_finds_no_form_that_acts(watched: Open) -> None:
    one = watched("viewer")
    for _, path in MENU:
        page = one.open(path)
        acts = page.locator("main form[method=post]").count()
        assert acts == 0, path
    assert one.faults == []


def test_no_script_of_a_page_can_be_added(watched: Open) -> None:
    """The policy holds: neither an inline script nor a style, nor eval, nor a file from elsewhere."""
    one = watched("operator")
    page = one.open("/")
    ran = page.evaluate(
        """() => { const s = document.createElement("script"); s.textContent = "window.ran = 1";
        document.body.append(s); return window.ran === 1; }"""
    )
    assert ran is False
    assert any("Content Security Policy" in fault for fault in one.faults)
