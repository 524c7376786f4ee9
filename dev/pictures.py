"""Takes the pictures of ``docs/guide/console.md``: five pages of a console beside a bridge that is busy.

Run as ``eval "$(scripts/console-tools)" && .venv/bin/python -m dev.pictures``. The people in them are the
simulator's, of a company that does not exist.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright

from dev.servers import start_kafka
from dev.stack import PASSWORDS, Stack

FOLDER: Final = Path(__file__).parents[1] / "docs" / "guide"
PAGES: Final = {
    "now": "/",
    "find": "/find",
    "event": "/find",
    "dead-letters": "/dead-letters",
    "catalogue": "/catalogue?family=approval",
}
WIDTH: Final = 1180
HEIGHT: Final = 760
EVENTS_PER_S: Final = 5
BUSY_S: Final = 60


def main() -> None:
    """Writes ``docs/guide/console-<page>.png``."""
    with tempfile.TemporaryDirectory(prefix="dingbridge-pictures-") as name:
        folder = Path(name)
        with start_kafka(folder / "kafka", how="local") as kafka:
            env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
            stack = Stack(folder, env)
            try:
                _live(stack)
                _take(stack)
            finally:
                stack.stop()


def _live(stack: Stack) -> None:
    """A company at work, and System A broken for a part of it."""
    stack.simulate("rate", {"per_second": EVENTS_PER_S})
    time.sleep(BUSY_S / 2)
    stack.system_a.broken = True
    time.sleep(BUSY_S / 2)


def _take(stack: Stack) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ["CHROMIUM"], args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(f"{stack.url}/login?lang=en")
        page.fill("#name", "operator")
        page.fill("#password", PASSWORDS["operator"])
        page.click("main button")
        ways: dict[str, Callable[[Page], None]] = {"find": _someone, "event": _event}
        for name, address in PAGES.items():
            page.goto(stack.url + address)
            if name in ways:
                ways[name](page)
            path = FOLDER / f"console-{name}.png"
            page.screenshot(path=path)
            print(f"{path} {path.stat().st_size:,} bytes")
        browser.close()


def _someone(page: Page) -> None:
    """Search for what the latest approval is about."""
    page.fill("main input", "bpms_instance_change")
    page.keyboard.press("Enter")
    page.wait_for_selector("main a[href^='/event?']")


def _event(page: Page) -> None:
    _someone(page)
    page.locator("main a[href^='/event?']").first.click()
    page.wait_for_url("**/event?**")


if __name__ == "__main__":
    main()
