"""What a proxy in front is believed, and from where; the cookie behind TLS; whose session a login begins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector, web
from pydantic import SecretStr

from dingbridge.console.access.listening import MODE, unix_socket
from dingbridge.console.access.middleware import ADDRESS
from dingbridge.console.access.users import Role
from dingbridge.console.app import open_console
from dingbridge.console.server import application
from dingbridge.console.settings import ConsoleSettings
from dingbridge.errors import BridgeError, SettingsError
from tests.unit.console.support import (
    BY_PROXY,
    PASSWORD,
    PROXY_SECRET,
    Browser,
    browser,
    settings_in,
)

HEADERS = {"console_proxy_user_header": "X-User", "console_proxy_role_header": "X-Role"}
ANNA = {"X-User": "anna", "X-Role": "operator"}


def behind(folder: Path, proxies: str = "127.0.0.1", **more: object) -> ConsoleSettings:
    secret = SecretStr(PROXY_SECRET)
    return settings_in(folder, **HEADERS, trusted_proxies=[proxies], console_proxy_secret=secret, **more)


async def test_any_program_on_the_proxys_machine_can_send_a_header_and_is_not_believed(
    tmp_path: Path,
) -> None:
    proofs = ([], [""], [PROXY_SECRET[:-1]], ["geheim-ü"], [PROXY_SECRET, "a stranger's"])
    async with browser(behind(tmp_path)) as who:
        for proof in proofs:
            headers = [*ANNA.items(), *(("X-Console-Proxy-Secret", secret) for secret in proof)]
            answer = await who.client.get("/audit", headers=headers, allow_redirects=False)
            assert answer.status == 303, proof


async def test_a_header_is_believed_of_a_trusted_proxy_with_the_secret_alone(tmp_path: Path) -> None:
    async with browser(behind(tmp_path, "10.0.0.0/8")) as who:
        assert (await who.get("/audit", headers={**ANNA, **BY_PROXY})).status == 303
    async with browser(behind(tmp_path)) as who:
        assert "proxy:anna (operator)" in await (await who.get("/audit", headers={**ANNA, **BY_PROXY})).text()
        for role in ("god", ""):
            page = await who.get("/audit", headers={**BY_PROXY, "X-User": "anna", "X-Role": role})
            assert "proxy:anna (viewer)" in await page.text()
        assert (await who.get("/audit", headers={**BY_PROXY, "X-Role": "operator"})).status == 303
        twice = [*BY_PROXY.items(), ("X-User", "anna"), ("X-Role", "operator"), ("X-Role", "viewer")]
        page = await who.client.get("/audit", headers=twice)
        assert "proxy:anna (viewer)" in await page.text(), "the proxy adds its own to a stranger's"


async def test_of_a_proxys_user_the_whole_name_counts_and_must_be_one(tmp_path: Path) -> None:
    async with browser(behind(tmp_path)) as who:
        names = {"张三": 200, "a" * 64: 200, "a" * 65: 403, "a\u202eb": 403}
        for name, status in names.items():
            answer = await who.get("/audit", headers={**BY_PROXY, "X-User": name})
            assert answer.status == status, ascii(name)
            assert "X-User must name" in await answer.text() or status == 200


async def test_no_page_of_others_looks_people_up_in_the_name_of_a_proxys_user(tmp_path: Path) -> None:
    anna = {**ANNA, **BY_PROXY}
    async with browser(behind(tmp_path)) as who:
        for site, dest, status in (
            ("cross-site", "image", 403),
            ("same-site", "iframe", 403),
            ("cross-site", "document", 200),
            ("same-origin", "empty", 200),
            ("none", "document", 200),
        ):
            headers = {**anna, "Sec-Fetch-Site": site, "Sec-Fetch-Dest": dest}
            assert (await who.get("/find?q=Anna", headers=headers)).status == status, (site, dest)
        lines = await who.console.audit.read()
        assert [line.act for line in lines] == ["looked_up"] * 3


def test_no_user_header_is_believed_without_a_socket_or_a_secret(tmp_path: Path) -> None:
    def loaded(**more: object) -> ConsoleSettings:
        return ConsoleSettings.load(data_dir=tmp_path, **HEADERS, **more)

    with pytest.raises(SettingsError, match="any program on the proxy's machine") as raised:
        loaded(trusted_proxies=["127.0.0.1"])
    assert "CONSOLE_SOCKET" in str(raised.value)
    assert "CONSOLE_PROXY_SECRET" in str(raised.value)
    with pytest.raises(SettingsError, match="must have 16 characters"):
        loaded(trusted_proxies=["127.0.0.1"], console_proxy_secret="short")
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES: needed"):
        loaded(console_proxy_secret=PROXY_SECRET)
    loaded(trusted_proxies=["127.0.0.1"], console_proxy_secret=PROXY_SECRET)
    loaded(console_socket=tmp_path / "s")


@asynccontextmanager
async def by_socket(path: Path, **settings: object) -> AsyncIterator[tuple[ClientSession, list[str]]]:
    """A client of the console's socket, and the addresses from which requests came."""
    console = open_console(settings_in(path.parent, **HEADERS, console_socket=path, **settings))
    addresses: list[str] = []

    @web.middleware
    async def note(request: web.Request, handler: object) -> web.StreamResponse:
        try:
            return await handler(request)  # type: ignore[operator]
        finally:
            addresses.append(request[ADDRESS])

    app = application(console)
    app.middlewares.insert(0, note)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, unix_socket(path)).start()
    async with ClientSession("http://console", connector=UnixConnector(str(path))) as client:
        try:
            yield client, addresses
        finally:
            await runner.cleanup()


async def test_whoever_may_use_the_socket_is_believed_and_nobody_else_may(tmp_path: Path) -> None:
    path = tmp_path / "console.sock"
    async with by_socket(path) as (client, _):
        assert path.stat().st_mode & 0o777 == MODE == 0o660
        async with client.get("/audit", headers=ANNA) as answer:
            assert "proxy:anna (operator)" in await answer.text()
        with pytest.raises(BridgeError, match="another process listens there"):
            unix_socket(path)
    assert path.is_socket()  # as one that was killed leaves it
    unix_socket(path).close()
    with pytest.raises(BridgeError, match="CONSOLE_SOCKET"):
        unix_socket(tmp_path / "no" / "folder")
    (tmp_path / "file").write_text("ours")
    with pytest.raises(BridgeError, match="CONSOLE_SOCKET"):
        unix_socket(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "ours"


FORWARDED = {
    "203.0.113.9": "203.0.113.9",
    "6.6.6.6, 203.0.113.9": "203.0.113.9",
    "6.6.6.6, 203.0.113.9, 10.0.0.7": "203.0.113.9",
    "10.0.0.1, 203.0.113.9, 10.0.0.7": "203.0.113.9",
    "6.6.6.6, <b>, 10.0.0.7": "10.0.0.7",
    "6.6.6.6, <b>": None,
    "": None,
}
"""``X-Forwarded-For``, and the address that is meant."""


async def test_an_address_is_read_from_the_right_and_never_past_the_first_that_is_no_proxy(
    tmp_path: Path,
) -> None:
    sent = [{"X-Forwarded-For": forwarded} if forwarded else {} for forwarded in FORWARDED]
    async with by_socket(tmp_path / "s", trusted_proxies=["10.0.0.0/8"]) as (client, addresses):
        for headers in sent:
            await client.get("/login", headers=headers)
        assert addresses == [address or "" for address in FORWARDED.values()]
    async with browser(settings_in(tmp_path, trusted_proxies=["127.0.0.1", "10.0.0.0/8"])) as who:
        for number, headers in enumerate(sent):
            await who.post("/login", {"name": f"x{number}", "password": "x"}, headers=headers)
        found = [line.address for line in await who.console.audit.read()]
        assert found[::-1] == [address or "127.0.0.1" for address in FORWARDED.values()]


async def test_behind_tls_the_cookie_is_one_that_nobody_else_can_have_set(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path, trusted_proxies=["127.0.0.1"])) as who:
        who.console.users.set_password("bob", PASSWORD, Role.VIEWER)
        tls = {"X-Forwarded-Proto": "https", "Origin": f"https://127.0.0.1:{who.client.port}"}
        answer = await who.post("/login", {"name": "bob", "password": PASSWORD}, headers=tls)
        cookie, _, flags = answer.headers["Set-Cookie"].partition("; ")
        name, _, session_id = cookie.partition("=")
        assert name == "__Host-console-session"
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= set(flags.split("; "))
        assert "Domain" not in flags
        who.client.session.cookie_jar.clear()
        for sent, status in ((name, 200), ("console-session", 303)):
            headers = {"X-Forwarded-Proto": "https", "Cookie": f"{sent}={session_id}"}
            assert (await who.get("/audit", headers=headers)).status == status


async def test_a_login_ends_the_session_that_the_browser_had_and_takes_no_id_from_it(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        planted = {"console-session": "an id that a stranger knows"}
        who.client.session.cookie_jar.update_cookies(planted)
        await who.log_in(Role.OPERATOR)
        first = _session_id(who)
        assert first != planted["console-session"]
        await who.log_in(Role.VIEWER)
        who.client.session.cookie_jar.clear()
        assert (await who.get("/audit", headers={"Cookie": f"console-session={first}"})).status == 303


async def test_no_page_of_somebody_elses_logs_anybody_in(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        who.console.users.set_password("mallory", PASSWORD, Role.VIEWER)
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            form = {"name": "mallory", "password": PASSWORD}
            answer = await who.post("/login", form, headers={"Origin": origin})
            assert answer.status == 403, origin
            assert "Set-Cookie" not in answer.headers


def _session_id(who: Browser) -> str:
    return who.set_cookie.partition(";")[0].partition("=")[2]
