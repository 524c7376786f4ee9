"""The stack and the browser, one of each for the run; people who are logged in; what a page did wrong."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from dev.servers import KafkaServer
from dev.servers.kafka import EnvironmentKafka
from dev.stack import PASSWORDS, Stack
from dingbridge.simulator.kafka.server import in_own_loop
from tests.support.pusher import Pusher
from tests.support.servers import PLAINTEXT, credentials_of_environment

PATIENCE_MS = 60_000


@pytest.fixture(scope="session")
def stack(chromium: Browser, kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    prefix = f"t{secrets.token_hex(4)}."
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "TOPIC_PREFIX": prefix,
        "CONTROL_PREFIX": f"ctl-{prefix}",
        **(credentials_of_environment() if isinstance(kafka, EnvironmentKafka) else PLAINTEXT),
    }
    running = Stack(tmp_path_factory.mktemp("console"), env)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.fail(
            'no Chromium: use make test-console, or eval "$(scripts/console-tools)" first', pytrace=False
        )
    # --no-sandbox: the test runs as root in a container, and shows the browser none but our own pages
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and whatever it did that it should not."""

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on(
            "console", lambda message: self._note(message.type in ("error", "warning"), message.text)
        )
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("request", lambda request: self._note(self._foreign(request.url), f"asks {request.url}"))
        self.page.on("dialog", lambda dialog: self._note(True, f"dialog {dialog.message}"))
        self.page.on(
            "response",
            lambda answer: self._note(answer.status >= 500, f"{answer.status} for {answer.url}"),
        )

    def _foreign(self, url: str) -> bool:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}" != self.origin

    def _note(self, wrong: bool, words: str) -> None:
        if wrong:
            self.faults.append(words)

    def open(self, path: str) -> Page:
        answer = self.page.goto(self.origin + path)
        assert answer is not None
        assert answer.status == 200, f"{answer.status} for {path}: {self.page.inner_text('main')[:500]}"
        return self.page


def push(stack: Stack, payloads: Iterable[bytes]) -> None:
    """Callbacks as DingTalk would push them; each is answered ``success``."""
    pusher = Pusher(stack.callback_url, retries=2)
    in_own_loop(pusher.push_all(enumerate(payloads)))
    assert set(pusher.answers.values()) == {"success"}, pusher.outcomes


Open = Callable[..., Watched]


@pytest.fixture(scope="session")
def cookies(stack: Stack, chromium: Browser) -> dict[str, list[object]]:
    """The cookies of each role's session, by a login in the form."""
    found: dict[str, list[object]] = {}
    for role, password in PASSWORDS.items():
        context = chromium.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{stack.url}/login")
        page.fill("#name", role)
        page.fill("#password", password)
        page.click("main button")
        page.wait_for_url(f"{stack.url}/")
        found[role] = list(context.cookies())
        context.close()
    return found


@pytest.fixture
def watched(stack: Stack, chromium: Browser, cookies: dict[str, list[object]]) -> Iterator[Open]:
    """``watched(role, **options of a context)``: a page of that person, in a context of its own."""
    contexts: list[BrowserContext] = []

    def make(role: str | None = "operator", **options: object) -> Watched:
        context = chromium.new_context(**options)
        contexts.append(context)
        if role is not None:
            context.add_cookies(cookies[role])
        return Watched(context.new_page(), stack.url)

    yield make
    for context in contexts:
        context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Adds what the stack's processes wrote to the report of a failure."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(running, Stack):
        report.sections.append(("processes", running.tails(6)))
    return report
