"""Logins in a browser by providers that are not ours: npm's ``oidc-provider``, and DingTalk as simulated."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from dev.servers import GuardedProcess, free_port
from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.console.conftest import PATIENCE_MS
from tests.contract.toolchain import npm_install
from tests.support.processes import Processes, wait_until

OIDC = Path(__file__).with_name("oidc")


@dataclass(frozen=True)
class Running:
    url: str
    processes: Processes
    env: Mapping[str, str]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A console without Kafka that both providers know."""
    npm_install(OIDC)
    folder = tmp_path_factory.mktemp("elsewhere")
    url, simulator = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    log, whole = folder / "provider.log", dict(os.environ)
    command = ["node", str(OIDC / "provider.mjs"), f"{url}/login/oidc/callback"]
    provider = GuardedProcess(command, log=log, env=whole, cwd=OIDC)
    processes = Processes(folder)

    def issuer() -> str:
        found = re.search(r"^http://localhost:\d+$", log.read_text(), re.M)
        return found[0] if found else ""

    def answers(address: str) -> bool:
        try:
            return urlopen(address).status == 200
        except OSError:
            return False

    try:
        env = {**SAMPLE_CREDENTIALS, "DATA_DIR": str(folder), "SIMULATOR_PORT": simulator.rpartition(":")[2]}
        processes.start("simulator", env=env)
        wait_until(lambda: issuer() != "", what="the provider's issuer")
        env |= {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
            "CONSOLE_PORT": url.rpartition(":")[2],
            "CONSOLE_URL": url,
            "CONSOLE_OIDC_ISSUER": issuer(),
            "CONSOLE_OIDC_CLIENT_ID": "console",
            "CONSOLE_OIDC_CLIENT_SECRET": "a secret: with & and %",
            "CONSOLE_OIDC_SCOPES": "openid profile",
            "CONSOLE_DINGTALK_CLIENT_ID": SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
            "CONSOLE_DINGTALK_CLIENT_SECRET": SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
            "DINGTALK_API_BASE": simulator,
        }
        processes.start("console", env=env)
        for address in (f"{url}/healthz", f"{simulator}/_sim/health"):
            wait_until(lambda address=address: answers(address), what=address)  # type: ignore[misc]
        yield Running(url, processes, env)
    except BaseException:
        print(processes.tails(), provider.log_tail(20))
        raise
    finally:
        processes.stop_all()
        provider.stop()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(locale="en")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


def by_oidc(page: Page, name: str) -> None:
    """From the console's login page to the provider's, and through it."""
    page.get_by_role("link", name="Log in by localhost").click()
    page.fill("input[name=login]", name)
    page.fill("input[name=password]", "whatever")
    page.click("button[type=submit]")
    page.get_by_role("button", name="Continue").click()


def test_an_openid_provider_s_user_comes_in_goes_on_and_out(console: Running, page: Page) -> None:
    page.goto(f"{console.url}/catalogue?text=dept")
    assert Axe().run(page).violations_count == 0
    by_oidc(page, "operator")
    # the cookie is SameSite=Strict and the provider another site: it has come along all the same
    page.wait_for_url(f"{console.url}/catalogue?text=dept")
    assert "operator (operator)" in page.inner_text("header")
    cookie = next(one for one in page.context.cookies(console.url) if one["name"] == "console-session")
    assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)
    page.goto(f"{console.url}/audit")
    assert "oidc" in page.inner_text("tbody tr:first-child")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{console.url}/login")
    page.get_by_role("link", name="Log in by localhost").click()  # the provider knows them still
    page.wait_for_url(f"{console.url}/")


def test_who_has_no_role_there_is_told_so(console: Running, page: Page) -> None:
    page.goto(f"{console.url}/")
    by_oidc(page, "nobody")
    page.wait_for_selector("[role=alert]")
    assert "knows you as nobody, but its claim roles names no role" in page.inner_text("[role=alert]")
    assert Axe().run(page).violations_count == 0


def test_a_colleague_comes_in_by_dingtalk_once_an_operator_has_let_them(console: Running, page: Page) -> None:
    def log_in() -> None:
        page.goto(f"{console.url}/audit")
        page.get_by_role("link", name="DingTalk").click()
        page.locator("li a").first.click()

    log_in()
    page.wait_for_selector("[role=alert]")
    shown = page.inner_text("main code")
    done = console.processes.run(*shown.split()[1:-1], "reader", env=console.env)
    assert done.returncode == 0, done.stderr
    log_in()
    page.wait_for_url(f"{console.url}/audit")
    assert f"{shown.split()[3]} (reader)" in page.inner_text("header")
    assert "dingtalk" in page.inner_text("tbody tr:first-child")
