"""No page without a login, no act without POST, a token, an own origin and the role of an operator."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from yarl import URL

from dingbridge.console.access.guesses import FREE, LONGEST_S, MOST_WAITING, Guesses
from dingbridge.console.access.middleware import HEADERS
from dingbridge.console.access.sessions import LIFETIME_S, MOST, MOST_OF_ONE, Sessions
from dingbridge.console.access.users import Role, UsersError, UsersFile
from dingbridge.console.commands import Command, Commands
from dingbridge.console.page import MENU
from dingbridge.logging import LogLimiter
from tests.unit.console.support import PASSWORD, Browser, browser, settings_in

OPEN = {"/healthz", "/login", "/static"}
"""What is there before a login."""


def served(who: Browser) -> Iterator[tuple[str, str]]:
    """``(method, path)`` of everything that the console serves, with a value for each part of a path."""
    assert who.client.app is not None
    for route in who.client.app.router.routes():
        resource = route.resource
        assert resource is not None
        if resource.canonical not in OPEN:
            path = resource.canonical
            for part in resource.get_info().get("pattern", ()) and _parts(resource.canonical):
                path = path.replace("{" + part + "}", "check_in")
            yield route.method, path


def _parts(canonical: str) -> list[str]:
    return [part.split("}")[0].split(":")[0] for part in canonical.split("{")[1:]]


def audited(who: Browser) -> list[dict[str, Any]]:
    path = who.console.audit.path
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def test_nothing_is_served_without_a_login(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        routes = list(served(who))
        assert len([path for method, path in routes if method == "GET"]) >= len(MENU)
        for method, path in routes:
            answer = await who.client.request(method, path, allow_redirects=False)
            if method in ("GET", "HEAD"):
                assert answer.status == 303, path
                assert answer.headers["Location"].startswith("/login?to="), path
            else:
                assert answer.status == 403, path


async def test_who_is_no_operator_can_act_nowhere(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        acts = [path for method, path in served(who) if method not in ("GET", "HEAD") and path != "/logout"]
        for role in (Role.VIEWER, Role.READER):
            await who.log_in(role)
            token = await who.csrf()
            for path in [*acts, "/any-act-of-tomorrow"]:
                answer = await who.post(path, {"csrf": token})
                assert answer.status == 403, path
        refused = [line for line in audited(who) if line["act"] == "refused"]
        assert [line["reason"] for line in refused] == ["role"] * 2 * (len(acts) + 1)


async def test_no_address_that_is_opened_runs_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link in a mail, a browser that fetches ahead."""
    ran = list[str]()

    async def run(_: Commands, request: web.Request, command: Command) -> None:
        ran.append(request.path)

    monkeypatch.setattr(Commands, "run", run)
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.OPERATOR)
        for path in {path for method, path in served(who) if method == "GET"} - {"/tail/events"}:
            query = {"act": "replay", "consumer": "approval", "which": "all", "state": "removal", "id": "x"}
            await who.get(path, params=query)
    assert ran == []


async def test_who_is_refused_again_and_again_fills_no_disk(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.VIEWER)
        for _ in range(80):
            assert (await who.post("/dead-letters/count", {})).status == 403
        assert 1 <= len([line for line in audited(who) if line["act"] == "refused"]) < 40


async def test_an_act_needs_a_form_of_ours(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.OPERATOR)
        acts = [path for method, path in served(who) if method not in ("GET", "HEAD")]
        proper = await who.csrf()
        for token, origin, reason in (
            ("", None, "csrf"),
            ("0" * 64, None, "csrf"),
            (proper, "https://evil.example", "foreign origin"),
            (proper, "null", "foreign origin"),
        ):
            for path in acts:
                headers = {"Origin": origin} if origin else {}
                answer = await who.post(path, {"csrf": token}, headers=headers)
                assert answer.status == 403, path
                assert audited(who)[-1]["reason"] == reason, path
        # the token in the address or as JSON is none
        assert (await who.post(f"/logout?csrf={proper}", {})).status == 403
        assert (await who.client.post("/logout", json={"csrf": proper})).status == 415
        assert (await who.post("/logout", {"csrf": proper})).status == 303


async def test_a_stranger_chooses_no_codec(tmp_path: Path) -> None:
    """``punycode`` takes minutes for what a form may have."""
    form = "application/x-www-form-urlencoded; charset="
    async with browser(settings_in(tmp_path)) as who:
        for kind in (form + "punycode", form + "no-such", "multipart/form-data; boundary=b"):
            sent = {"data": b"-" + b"a" * 100, "headers": {"Content-Type": kind}}
            assert (await who.client.post("/login", **sent)).status == 415, kind


async def test_every_answer_carries_the_security_headers(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        for path in ("/", "/login", "/healthz", "/static/console.js", "/static/nothing"):
            answer = await who.get(path)
            assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS), path
            assert "Server" not in answer.headers
        await who.log_in(Role.VIEWER)
        for path in ("/audit", "/nowhere"):
            answer = await who.get(path)
            assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS), path
            assert answer.headers["Cache-Control"] == "no-store"


async def test_a_foreign_name_is_not_answered(tmp_path: Path) -> None:
    ours = ("127.0.0.1:8088", "[::1]:8088", "localhost", "console.example.com")
    async with browser(settings_in(tmp_path, console_names=["console.example.com"])) as who:
        foreign = ("evil.example.com", "127.0.0.1.evil.example.com", "evil%2ecom", "a b", "x@127.0.0.1", "[")
        for host in (*ours, *foreign):
            answer = await who.get("/login", headers={"Host": host})
            assert answer.status == (200 if host in ours else 421), host


async def test_a_session_ends_with_the_password_the_role_holds_at_once_and_logging_out_is_final(
    tmp_path: Path,
) -> None:
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.OPERATOR)
        cookie = who.client.session.cookie_jar.filter_cookies(who.client.make_url("/"))["console-session"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(who.set_cookie.split("; "))
        assert "Secure" not in who.set_cookie
        text = who.console.users.path.read_text()
        who.console.users.path.write_text(text.replace('role = "operator"', 'role = "reader"'))
        assert "(reader)" in await (await who.get("/audit")).text()
        token = await who.csrf()
        assert (await who.post("/logout", {"csrf": token})).status == 303
        who.client.session.cookie_jar.update_cookies({"console-session": cookie.value})
        assert (await who.get("/audit")).status == 303
        await who.log_in(Role.READER)
        who.console.users.set_password("reader", "another password", None)
        assert (await who.get("/audit")).status == 303


async def test_who_guesses_has_to_wait_and_a_name_that_is_typed_stands_in_no_audit(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        who.console.users.set_password("anna", PASSWORD, Role.OPERATOR)
        statuses = [
            (await who.post("/login", {"name": name, "password": "wrong"})).status
            for name in ("anna", "my secret password", "anna", "anna", "anna", "anna", "anna")
        ]
        assert statuses == [403] * (FREE + 1) + [429]
        assert (await who.post("/login", {"name": "anna", "password": PASSWORD})).status == 429
        assert [line["user"] for line in audited(who)] == ["anna", "?", *["anna"] * 4]


async def test_who_guesses_locks_out_nobody_else_behind_the_same_address(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        who.console.users.set_password("bob", PASSWORD, Role.VIEWER)
        guesses = [who.post("/login", {"name": f"anna{n % 40}", "password": "wrong"}) for n in range(300)]
        flood = asyncio.gather(*guesses)
        for _ in range(3):
            assert (await who.post("/login", {"name": "bob", "password": PASSWORD})).status in (303, 429)
        assert {answer.status for answer in await flood} == {403, 429}
        assert (await who.post("/login", {"name": "bob", "password": PASSWORD})).status == 303


async def test_a_flood_from_one_address_holds_up_its_own_alone() -> None:
    guesses, order = Guesses(), list[str]()

    async def check(address: str) -> None:
        async with guesses.turn(address) as is_mine:
            await asyncio.sleep(0)
            order.append(address if is_mine else "refused")

    flood = [asyncio.create_task(check("10.0.0.1")) for _ in range(MOST_WAITING + 20)]
    await asyncio.sleep(0)
    await check("10.0.0.2")
    assert order.index("10.0.0.2") <= 20 + 2, "behind the one that was being checked"
    await asyncio.gather(*flood)
    assert order.count("refused") == 20


async def test_no_link_of_a_page_leads_to_another_host(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.VIEWER)
        url = URL(f"{who.client.make_url('/')}/evil.example/x", encoded=True)
        answer = await who.client.session.get(url)
        assert answer.status == 404
        page = await answer.text()
        assert 'href="/evil.example/x?lang=zh"' in page
        assert 'href="//' not in page


async def test_a_login_leads_to_no_other_site(tmp_path: Path) -> None:
    async with browser(settings_in(tmp_path)) as who:
        who.console.users.set_password("anna", PASSWORD, Role.VIEWER)
        for to in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"):
            answer = await who.post("/login", {"name": "anna", "password": PASSWORD, "to": to})
            assert answer.headers["Location"] == "/", to


def test_guesses_wait_longer_each_time_by_name_and_household_and_are_forgotten() -> None:
    now = [0.0]
    guesses = Guesses(clock=lambda: now[0])
    waits = []
    for number in range(FREE + 12):
        guesses.failed(f"2001:db8:1:2::{number:x}", "anna")
        waits.append(guesses.wait_s("2001:db8:1:2::ffff", "anna"))
    assert waits[: FREE - 1] == [0.0] * (FREE - 1)
    assert waits[FREE - 1 :] == sorted(waits[FREE - 1 :])
    assert waits[-1] == LONGEST_S
    assert guesses.wait_s("2001:db8:1:3::1", "anna") == 0
    assert guesses.wait_s("2001:db8:1:2::1", "bob") == 0
    now[0] = 7200
    guesses.failed("2001:db8:1:2::1", "anna")
    assert guesses.wait_s("2001:db8:1:2::1", "anna") == 0


async def test_of_a_flood_of_guesses_the_audit_has_a_few_lines_and_how_many_they_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("dingbridge.console.login.LogLimiter", partial(LogLimiter, clock=lambda: now[0]))
    async with browser(settings_in(tmp_path)) as who:
        for number in range(26):
            now[0] = 60 * (number // 25)
            await who.post("/login", {"name": f"n{number}", "password": "wrong password"})
        lines = await who.console.audit.read()
    assert [line.count for line in lines] == [6] + [None] * 20


def test_a_login_of_ones_own_forgives_no_guess_at_another_s_password() -> None:
    guesses = Guesses(clock=lambda: 0.0)
    for _ in range(FREE):
        guesses.failed("10.0.0.1", "boss")
        guesses.failed("10.0.0.1", "viewer")
        guesses.succeeded("10.0.0.1", "viewer")
    assert guesses.wait_s("10.0.0.1", "boss") > 0
    guesses.succeeded("10.0.0.1", "boss")
    assert guesses.wait_s("10.0.0.1", "boss") == 0


def test_a_session_lasts_its_time(tmp_path: Path) -> None:
    now = [0.0]
    users = UsersFile(tmp_path / "users.toml")
    sessions = Sessions(users, clock=lambda: now[0])
    anna = users.set_password("anna", PASSWORD, Role.READER)
    session_id = sessions.begin(anna)
    now[0] = LIFETIME_S - 1
    assert sessions.user(session_id) == anna
    now[0] = LIFETIME_S
    assert sessions.user(session_id) is None
    assert sessions.user("\udcff") is None


def test_who_logs_in_without_end_ends_nobody_else_s_session(tmp_path: Path) -> None:
    users = UsersFile(tmp_path / "users.toml")
    anna = users.set_password("anna", PASSWORD, Role.READER)
    bob = users.set_password("bob", PASSWORD, Role.VIEWER)
    sessions = Sessions(users)
    of_anna = sessions.begin(anna)
    of_bob = [sessions.begin(bob) for _ in range(MOST + 1)]
    assert sessions.user(of_anna) == anna
    alive = [one for one in of_bob if sessions.user(one)]
    assert alive == of_bob[-MOST_OF_ONE:]


def test_the_users_file_is_private_keeps_comments_and_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "new" / "users.toml"
    users = UsersFile(path)
    assert users.names() == []
    users.set_password("anna", PASSWORD, Role.OPERATOR)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("# ours\n" + path.read_text())
    users.set_password("anna", "another password", None)
    assert path.read_text().startswith("# ours\n")
    assert users.verify("anna", PASSWORD) is None
    anna = users.verify("anna", "another password")
    assert anna is not None
    assert anna.role is Role.OPERATOR
    assert users.verify("nobody", "another password") is None
    for name, password in (("", PASSWORD), ("a b", PASSWORD), ("bob", "short"), ("bob", "x" * 257)):
        with pytest.raises(UsersError):
            users.set_password(name, password, Role.VIEWER)
    assert users.names() == ["anna"]
    path.chmod(0o644)
    for one in (users, UsersFile(path)):  # also of a console that runs
        with pytest.raises(UsersError, match="chmod 600"):
            one.names()
    path.chmod(0o600)
    for text in ("users = [", '[users.anna]\nrole = "god"\npassword = "x"', "[users.anna]\npassword = 'x'"):
        path.write_text(text)
        with pytest.raises(UsersError, match="cannot be used"):
            UsersFile(path).names()


async def test_a_form_that_cannot_be_read_is_the_senders_mistake(tmp_path: Path) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with browser(settings_in(tmp_path)) as who:
        for body, headers in ((b"\xff", form), (b"a=b", form | {"Content-Encoding": "gzip"})):
            answer = await who.client.post("/login", data=body, headers=headers)
            assert answer.status == 400
            assert "cannot be read" in await answer.text()


async def test_five_wrong_passwords_hold_up_that_name_for_as_long_as_the_guesser_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("dingbridge.console.login.Guesses", partial(Guesses, clock=lambda: now[0]))
    wrong, right = ({"name": "anna", "password": text} for text in ("wrong", PASSWORD))
    async with browser(settings_in(tmp_path)) as who:
        for name in ("anna", "bob"):
            who.console.users.set_password(name, PASSWORD, Role.VIEWER)
        for _ in range(FREE):
            assert (await who.post("/login", wrong)).status == 403
        for form in (wrong, right, wrong):  # who tries while waiting does not lengthen it
            answer = await who.post("/login", form)
            assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
        assert (await who.post("/login", right | {"name": "bob"})).status == 303
        now[0] = 1.0
        assert (await who.post("/login", right)).status == 303
