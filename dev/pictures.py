"""Takes the pictures of ``docs/guide/console.md``: pages of a console beside a bridge that is busy, and whose
System A is broken. Now and Event also on a phone and in dark colours.

Run as ``make pictures``. The people in them are the simulator's, of a company that does not exist.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Page, ViewportSize, sync_playwright

from dev.servers import start_kafka
from dev.stack import PASSWORDS, Stack

FOLDER: Final = Path(__file__).parents[1] / "docs" / "guide"
SIZES: Final[tuple[ViewportSize, ...]] = ({"width": 1280, "height": 800}, {"width": 390, "height": 844})
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
EVENTS_PER_S: Final = 5
BUSY_S: Final = 60


def main() -> None:
    """Writes ``docs/guide/console-<page>.png``, of Now and Event ``console-<page>-<width>-<scheme>.png``."""
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
        context = browser.new_context(timezone_id="Asia/Shanghai")
        page = context.new_page()
        page.goto(f"{stack.url}/login?lang=en")
        page.fill("#name", "operator")
        page.fill("#password", PASSWORDS["operator"])
        page.click("main button")
        page.wait_for_url(f"{stack.url}/")
        dead = _given_up(page, stack)
        for size in SIZES:
            page.set_viewport_size(size)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                for name, address in (("now", "/"), ("event", dead)):
                    _picture(page, stack.url + address, f"{name}-{size['width']}-{scheme}")
        page.set_viewport_size(SIZES[0])
        page.emulate_media(color_scheme="light")
        _picture(page, f"{stack.url}/find?q=bpms_instance_change", "find")
        _picture(page, f"{stack.url}/dead-letters", "dead-letters")
        _picture(page, f"{stack.url}/catalogue?family=approval", "catalogue")
        browser.close()


def _given_up(page: Page, stack: Stack) -> str:
    """The address of an event that System A has refused."""
    link = page.locator("main a[href^='/event?']").first
    while True:
        page.goto(f"{stack.url}/dead-letters/letters?consumer=forward-a")
        if link.count():
            return link.get_attribute("href") or ""
        time.sleep(1)


def _picture(page: Page, url: str, name: str) -> None:
    page.goto(url)
    path = FOLDER / f"console-{name}.png"
    page.screenshot(path=path)
    print(f"{path} {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
