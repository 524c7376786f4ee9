"""Audit, commands, what is shown, what listeners answer, settings."""

import asyncio
import sys
import threading
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.console.access.middleware import ADDRESS, USER
from dingbridge.console.access.users import Role, User
from dingbridge.console.audit import Audit, AuditError
from dingbridge.console.commands import Command, Commands
from dingbridge.console.render import Render, language_of, shown_number, shown_seconds
from dingbridge.console.settings import ConsoleSettings
from dingbridge.console.sources import dead_letters
from dingbridge.console.sources.dead_letters import DeadLetters
from dingbridge.console.sources.listeners import Listeners
from dingbridge.console.times import shown_time, zone_of
from dingbridge.errors import SettingsError
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.ports import free_port
from tests.support.waiting import eventually
from tests.unit.console.support import browser, settings_in


def by(user: User) -> web.Request:
    request = make_mocked_request("POST", "/")
    request[USER], request[ADDRESS] = user, "127.0.0.1"
    return request


async def test_the_audit_is_private_and_reads_back_newest_first_past_a_torn_line(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    assert await audit.read() == []
    await audit.write("command", user="bob", command="x 0", count=0)
    line = audit.path.read_bytes()
    lines = [line.replace(b'"count":0', b'"count":%d' % number) for number in range(3000)]
    audit.path.write_bytes(b"".join(lines))
    with audit.path.open("ab") as file:
        file.write(b'{"at":"2026-11-27T00:00:00Z","user":"an')
    assert audit.path.stat().st_mode & 0o777 == 0o600
    entries = await audit.read(5)
    assert [entry.count for entry in entries] == [2999, 2998, 2997, 2996, 2995]
    assert len(await audit.read(10_000)) == 3000
    await audit.write("command", user="anna", count=3000)
    assert [entry.count for entry in await audit.read(2)] == [3000, 2999]


async def test_a_newer_versions_lines_of_the_audit_are_read(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    await audit.write("login", user="anna")
    with audit.path.open("ab") as file:
        file.write(b'{"at":"2026-11-27T00:00:00Z","user":"bob","act":"login","passkey":true}\n')
    assert [entry.user for entry in await audit.read()] == ["bob", "anna"]


async def test_nothing_is_done_that_the_audit_cannot_hold(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    commands = Commands(Audit(tmp_path / "file" / "audit.jsonl"))
    with pytest.raises(AuditError, match="nothing is done"):
        await commands.run(by(User("anna", Role.OPERATOR)), Command(("--version",)))


async def test_a_command_is_run_as_it_is_shown_and_audited_before_and_after(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    command = Command(("schema", "drift", "no such type; echo $(id)"), count=3)
    assert command.shown == "dingbridge schema drift 'no such type; echo $(id)'"
    done = await Commands(audit).run(by(User("anna", Role.OPERATOR)), command)
    assert not done.ok
    assert "uid=" not in done.output
    after, before = await audit.read()
    assert (before.act, before.command, before.count, before.exit_code) == ("command", command.shown, 3, None)
    assert (after.act, after.user, after.exit_code) == ("command_ended", "anna", done.exit_code)


async def test_what_was_done_is_told_as_done_where_the_audit_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit, written = Audit(tmp_path / "audit.jsonl"), Audit.write

    async def only_before(self: Audit, act: str, **values: Any) -> None:
        if act == "command_ended":
            raise AuditError("and so nothing is done")
        await written(self, act, **values)

    monkeypatch.setattr(Audit, "write", only_before)
    done = await Commands(audit).run(by(User("anna", Role.OPERATOR)), Command(("--version",)))
    assert done.ok
    assert done.unaudited


async def test_a_command_that_takes_too_long_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(Audit(tmp_path / "audit.jsonl"), limit_s=0.2)
    # as the command's interpreter: a script that only ends by Ctrl-C
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\nimport time\nprint('began', flush=True)\ntime.sleep(3600)\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    done = await commands.run(by(User("anna", Role.OPERATOR)), Command(("dlq", "replay", "approval")))
    assert done.interrupted
    assert not done.ok


async def test_a_console_that_stops_interrupts_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C: killed between the copies and their note, a replay would offer the letters again."""
    began, ended = tmp_path / "began", tmp_path / "ended"
    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\nimport time, pathlib\ntry:\n    pathlib.Path({str(began)!r}).touch()\n"
        f"    time.sleep(3600)\nexcept KeyboardInterrupt:\n    pathlib.Path({str(ended)!r}).touch()\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    commands = Commands(Audit(tmp_path / "audit.jsonl"))
    command = Command(("dlq", "replay", "approval"))
    running = asyncio.ensure_future(commands.run(by(User("anna", Role.OPERATOR)), command))
    await eventually(began.exists, what="it runs")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.exists()


class Tags(HTMLParser):
    """The tags of a page, with the names of their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


@given(
    st.text()
    | st.sampled_from(["<script>alert(1)</script>", "{{7*7}}", "{% raw %}", "\"' onclick=x", "\u202e"])
)
def test_whatever_a_value_holds_stays_text(text: str) -> None:
    def page(value: str) -> str:
        here = {"path": "/", "menu": (), "csrf": value, "here": lambda **_: value, "lang": "en", "user": None}
        here |= {"zone": SHANGHAI, "offset": value}
        more = {"name": value, "problem": "", "values": {}, "ways": [("oidc", value)], "to": value}
        return RENDER.html("login.html", {"t": RENDER.translator("en"), **here, **more})

    assert Tags(page(text)).found == Tags(page("x")).found
    assert "49" not in page("{{7*7}}")
    assert Tags(str(shown_time(text, SHANGHAI))).found in ([], [("time", ["datetime", "title"])])


RENDER = Render()
SHANGHAI = ZoneInfo("Asia/Shanghai")


def test_times_numbers_and_lengths_are_shown_in_units() -> None:
    moment = datetime(2026, 11, 27, 8, 0, 1, 5000, tzinfo=UTC)
    exact, utc = "2026-11-27T08:00:01.005Z", "2026-11-27 08:00:01.005 UTC"
    shown = f'<time datetime="{exact}" title="{utc}">2026-11-27 16:00:01</time>'
    values = (moment, moment.timestamp(), "2026-11-27T16:00:01.005+08:00", "2026-11-27T08:00:01.005")
    assert {str(shown_time(value, SHANGHAI)) for value in values} == {shown}
    assert str(shown_time(None, SHANGHAI)) == "–"
    assert [shown_number(value) for value in (None, 0, 1234567, 0.12345, 12.0)] == [
        "–",
        "0",
        "1,234,567",
        "0.123",
        "12",
    ]
    assert [shown_seconds(value) for value in (None, 0.25, 1.5, 90, 600, 7200 * 2, 86400 * 3)] == [
        "–",
        "250 ms",
        "1.5 s",
        "90 s",
        "10 min",
        "4 h",
        "3 d",
    ]


@pytest.mark.parametrize(
    ("path", "cookie", "accepted", "language"),
    [
        ("/?lang=zh", "en", "en", "zh"),
        ("/", "zh", "en", "zh"),
        ("/", "", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("/", "", "fr,zh;q=0.5", "zh"),
        ("/?lang=xx", "yy", "fr", "en"),
    ],
)
def test_the_language_is_asked_for_kept_or_preferred(
    path: str, cookie: str, accepted: str, language: str
) -> None:
    headers = {"Accept-Language": accepted, "Cookie": f"lang={cookie}"}
    assert language_of(make_mocked_request("GET", path, headers=headers)) == language


@pytest.mark.parametrize(
    "value", [0.0, -1e18, 1e300, float("nan"), float("inf"), "0001-01-01", "9999-12-31T23:59:59"]
)
def test_no_time_ends_a_page(value: float | str) -> None:
    for zone in (SHANGHAI, ZoneInfo("America/New_York")):
        assert str(shown_time(value, zone))


@given(
    st.text()
    | st.sampled_from(["Europe/Berlin", "../../etc/passwd", "America", "tzdata.zi", "Asia/Shanghai\0"])
)
def test_times_are_in_the_browsers_zone_or_in_dingtalks(name: str) -> None:
    request = make_mocked_request("GET", "/", headers={"Cookie": f"timezone={name}"})
    zone = zone_of(request, ConsoleSettings(dingtalk_timezone="Asia/Tokyo"))
    assert (zone.key == name) if name == "Europe/Berlin" else zone.key in (name, "Asia/Tokyo")


async def test_listeners_are_asked_side_by_side_and_who_does_not_answer_is_told() -> None:
    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text='a_total{type="x"} 2\na_total{type="y"} 3\n')

    async def ready(request: web.Request) -> web.Response:
        return web.json_response({"status": "not ready"}, status=503)

    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/readyz", ready), web.get("/slow", never)])
    server = TestServer(app)
    await server.start_server()
    gone = f"http://127.0.0.1:{free_port()}"
    listeners = Listeners(
        [("ingress", str(server.make_url("")).rstrip("/")), ("approval", gone)], timeout_s=0.5
    )
    await listeners.start()
    try:
        here, absent = await listeners.metrics()
        assert here.value is not None
        assert (here.value.sum("a_total"), here.value.sum("a_total", type="x")) == (5, 2)
        assert here.value.sum("b_total") is None
        assert (absent.value, absent.problem) == (None, "cannot be reached")
        [answer] = await listeners.json("/readyz", "ingress")
        assert (answer.status, answer.value) == (503, {"status": "not ready"})
        [answer] = await listeners.json("/slow", "ingress")
        assert answer.problem == "does not answer within 0.5 s"
        [answer] = await listeners.json("/metrics", "ingress")
        assert answer.problem == "answers to /metrics what cannot be read"
        [answer] = await listeners.json("/none", "ingress")
        assert answer.problem == "answers 404 to /none"
    finally:
        await listeners.stop()
        await server.close()


def test_settings_say_all_mistakes_at_once_and_repeat_no_password(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        ConsoleSettings.load(
            console_listeners=["ingress", "approval=http://me:secret@host"],
            console_databases="approval=mysql://me:secret@host/x",
            console_proxy_user_header="X-User",
            console_port=70_000,
        )
    text = str(raised.value)
    wrong = ("CONSOLE_LISTENERS", "CONSOLE_DATABASES", "TRUSTED_PROXIES", "CONSOLE_PORT")
    for name in (*wrong, "CONSOLE_PROXY_USER_HEADER"):
        assert f"{name}: " in text
    assert "secret" not in text
    settings = ConsoleSettings(
        data_dir=tmp_path,
        admin_port=9,
        console_databases="approval=postgresql://u:p@h/x, b=sqlite:///y",
    )
    assert settings.listeners == [("ingress", "http://127.0.0.1:9")]
    assert settings.database_url_of("approval") == "postgresql://u:p@h/x"
    assert settings.database_url_of("address-sync") == f"sqlite:///{tmp_path}/address-sync.db"


def test_settings_of_a_login_elsewhere_are_whole() -> None:
    with pytest.raises(SettingsError) as raised:
        ConsoleSettings.load(
            console_url="http://console.example.com",
            console_oidc_issuer="https://me:secret@login.example.com",
            console_oidc_client_id="x",
            console_oidc_roles=["ops=god"],
            console_oidc_scopes="profile",
            console_dingtalk_client_id="x",
        )
    text = str(raised.value)
    names = (
        "URL",
        "OIDC_ISSUER",
        "OIDC_CLIENT_SECRET",
        "OIDC_ROLES",
        "OIDC_SCOPES",
        "DINGTALK_CLIENT_SECRET",
    )
    for name in names:
        assert f"CONSOLE_{name}: " in text
    assert "me:secret" not in text


async def test_the_catalogue_tells_meaning_fields_readers_and_who_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.VIEWER)
        page = await (await who.get("/catalogue?text=department+created&lang=en")).text()
        assert "org_dept_create" in page
        assert "bpms_instance_change" not in page
        assert "cannot be reached" in page
        one = await (await who.get("/catalogue/org_dept_create?lang=zh")).text()
        for text in (
            "dingtalk.org_dept_create",
            "address-sync",
            "deptId",
            "通讯录企业部门创建",
            "Department created",
        ):
            assert text in one
        assert (await who.get("/catalogue/<script>")).status == 404
        assert (
            "<script>alert" not in await (await who.get("/catalogue?text=<script>alert(1)</script>")).text()
        )


async def test_the_console_goes_on_while_few_pages_read_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    within, most, go_on = 0, 0, threading.Event()

    async def topics(*_: object) -> dict[str, int]:
        nonlocal within, most
        within += 1
        most = max(most, within)
        if not go_on.wait(60):  # as long as it takes to decode them
            raise TimeoutError("the console's own loop is held up")
        within -= 1
        return {}

    monkeypatch.setattr(dead_letters, "existing_topics", topics)
    letters = DeadLetters(KafkaSettings())
    pages = [asyncio.create_task(letters.overview()) for _ in range(5)]
    try:
        await eventually(lambda: within == 2, what="two pages that read")
    finally:
        go_on.set()
    assert await asyncio.gather(*pages) == [[]] * 5
    assert most == 2
