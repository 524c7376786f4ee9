"""A login in a browser by a provider that is not ours: npm's ``oidc-provider``."""

import os
import re
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console without Kafka that the provider knows."""
    npm_install(OIDC)
    folder = tmp_path_factory.mktemp("elsewhere")
    url = f"http://127.0.0.1:{free_port()}"
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
        wait_until(lambda: issuer() != "", what="the provider's issuer")
        env = {
            **SAMPLE_CREDENTIALS,
            "DATA_DIR": str(folder),
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
            "CONSOLE_PORT": url.rpartition(":")[2],
            "CONSOLE_URL": url,
            "CONSOLE_OIDC_ISSUER": issuer(),
            "CONSOLE_OIDC_CLIENT_ID": "console",
            "CONSOLE_OIDC_CLIENT_SECRET": "a secret: with & and %",
            "CONSOLE_OIDC_SCOPES": "openid profile",
        }
        processes.start("console", env=env)
        wait_until(lambda: answers(f"{url}/healthz"), what="the console")
        yield url
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


def test_an_openid_provider_s_user_comes_in_goes_on_and_out(console: str, page: Page) -> None:
    page.goto(f"{console}/catalogue?text=dept")
    assert Axe().run(page).violations_count == 0
    by_oidc(page, "operator")
    # the cookie is SameSite=Strict and the provider another site: it has come along all the same
    page.wait_for_url(f"{console}/catalogue?text=dept")
    assert "operator (operator)" in page.inner_text("header")
    cookie = next(one for one in page.context.cookies(console) if one["name"] == "console-session")
    assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)
    page.goto(f"{console}/audit")
    assert "oidc" in page.inner_text("tbody tr:first-child")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{console}/login")
    page.get_by_role("link", name="Log in by localhost").click()  # the provider knows them still
    page.wait_for_url(f"{console}/")
