"""``dingbridge callback`` with the simulator and an ingress: from nothing to registered and verified."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from dingbridge.cli.callback.check import TRIES, round_trip
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.settings import SAMPLE_CREDENTIALS
from simulator.server import Simulator
from tests.integration.callback_support import (
    AES_KEY,
    OURS,
    OWNER,
    TOKEN,
    Door,
    Stub,
    dingbridge_callback,
    signed,
)
from tests.integration.simulator_support import settings
from tests.support.processes import free_port
from tests.support.terminal import on_terminal

EVENTS = "user_add_org,user_leave_org"


@pytest.fixture
async def simulator():
    async with Simulator(settings()) as simulator:
        yield simulator


@pytest.fixture
async def door(tmp_path):
    async with Door(tmp_path / "journal") as door:
        yield door


@pytest.fixture
def env(simulator):
    return {
        "DINGTALK_TOKEN": TOKEN,
        "DINGTALK_AES_KEY": AES_KEY,
        "DINGTALK_OWNER_KEY": OWNER,
        "DINGTALK_APP_KEY": SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
        "DINGTALK_APP_SECRET": SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
        "DINGTALK_API_BASE": simulator.base_url,
    }


def beside(env, door):
    return {**env, "ADMIN_PORT": str(door.private.port)}


def registered(simulator):
    current = simulator.callbacks.current
    return None if current is None else (current.target.url, sorted(current.tags))


async def test_registered_shown_verified_updated_and_deleted(simulator, door, env, tmp_path):
    env = beside(env, door)
    said = await dingbridge_callback(tmp_path, env, "register", "--url", door.url, "--events", EVENTS)
    assert (said.code, said.err.count("warning: the URL is plain http")) == (0, 1)
    assert f"{door.url} leads to this ingress" in said.out
    assert f"registered: {door.url}" in said.out
    assert registered(simulator) == (door.url, ["user_add_org", "user_leave_org"])

    said = await dingbridge_callback(tmp_path, env, "verify", "--events", EVENTS)
    assert said.code == 0
    assert "reached  the ingress answers as DingTalk wants it" in said.out

    said = await dingbridge_callback(tmp_path, env, "verify", "--events", "user_add_org,check_in")
    assert said.code == 1
    assert "events: not registered, and wanted: check_in" in said.out
    assert "note: registered, and read by no installed consumer: user_leave_org" in said.out

    said = await dingbridge_callback(tmp_path, env, "update", "--events", "check_in")
    assert (said.code, registered(simulator)) == (0, (door.url, ["check_in"]))
    assert f"updated: {door.url}" in said.out

    said = await dingbridge_callback(tmp_path, env, "delete")
    assert (said.code, registered(simulator)) == (0, None)
    said = await dingbridge_callback(tmp_path, env, "delete")
    assert said.code == 1
    assert "callback register --url" in said.err


async def test_without_events_it_is_what_the_consumers_read(simulator, door, env, tmp_path):
    said = await dingbridge_callback(tmp_path, beside(env, door), "register", "--url", door.url)
    assert said.code == 0, said.err
    _, tags = registered(simulator)
    assert {"user_add_org", "bpms_instance_change"} <= set(tags)


async def test_a_dry_run_changes_nothing(simulator, door, env, tmp_path):
    env = beside(env, door)
    arguments = ("--url", door.url, "--events", EVENTS)
    said = await dingbridge_callback(tmp_path, env, "register", *arguments, "--dry-run")
    assert (said.code, registered(simulator)) == (0, None)
    assert f"would register: {door.url}" in said.out
    assert (await dingbridge_callback(tmp_path, env, "register", *arguments)).code == 0
    before = registered(simulator)
    for verb, words in (("register", "would replace"), ("update", "would update: ")):
        said = await dingbridge_callback(
            tmp_path, env, verb, "--url", door.url, "--events", "check_in", "--dry-run"
        )
        assert words in said.out
        assert "events: not registered, and wanted: check_in" in said.out
    said = await dingbridge_callback(tmp_path, env, "delete", "--dry-run")
    assert f"would delete: {door.url}" in said.out
    assert registered(simulator) == before


async def test_credentials_are_generated_into_files_that_others_cannot_read(simulator, env, tmp_path):
    del env["DINGTALK_TOKEN"], env["DINGTALK_AES_KEY"]
    files = [tmp_path / "secrets" / name for name in ("token", "aes-key")]
    env |= {"DINGTALK_TOKEN_FILE": str(files[0]), "DINGTALK_AES_KEY_FILE": str(files[1])}
    port = free_port()
    url = f"http://127.0.0.1:{port}/callback"
    arguments = ("register", "--generate", "--url", url, "--events", EVENTS)

    said = await dingbridge_callback(tmp_path, env, *arguments, "--dry-run")
    assert (said.code, any(file.exists() for file in files)) == (0, False)

    # nothing listens yet: they are written, and it says how to go on
    said = await dingbridge_callback(tmp_path, env, *arguments)
    assert said.code == 1
    assert "without --generate" in said.err
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    token, aes_key = (file.read_text().strip() for file in files)

    # what is there already is never written over
    said = await dingbridge_callback(tmp_path, env, *arguments)
    assert (said.code, files[0].read_text().strip()) == (2, token)
    assert said.err.count("exists already") == 2

    # the ingress is started with them, while the command waits for it
    door = Door(tmp_path / "journal", Credentials(token, aes_key, (OWNER,)))
    door.port = port
    waiting = asyncio.ensure_future(
        dingbridge_callback(tmp_path, env, "register", "--url", url, "--events", EVENTS, "--wait", "60")
    )
    async with door:
        said = await waiting
    assert said.code == 0, said.err
    assert registered(simulator) == (url, ["user_add_org", "user_leave_org"])
    assert simulator.callbacks.current.target.token == token


async def test_where_one_is_registered_it_offers_the_update(simulator, door, env, tmp_path):
    env = beside(env, door)
    assert (
        await dingbridge_callback(tmp_path, env, "register", "--url", door.url, "--events", EVENTS)
    ).code == 0
    before = registered(simulator)
    arguments = ("register", "--url", door.url, "--events", "check_in")

    said = await dingbridge_callback(tmp_path, env, *arguments)
    assert (said.code, registered(simulator)) == (1, before)
    assert "71006" in said.err
    assert "dingbridge callback update" in said.err
    assert "events: not registered, and wanted: check_in" in said.out

    code, shown = await asyncio.to_thread(on_terminal, env, tmp_path, "callback", *arguments, answer="y")
    assert "Update it? [y/N]" in shown
    assert (code, registered(simulator)) == (0, (door.url, ["check_in"]))


async def test_it_asks_on_a_terminal_before_it_deletes(simulator, door, env, tmp_path):
    env = beside(env, door)
    await dingbridge_callback(tmp_path, env, "register", "--url", door.url, "--events", EVENTS)
    code, shown = await asyncio.to_thread(on_terminal, env, tmp_path, "callback", "delete", answer="n")
    assert "[y/N]" in shown
    assert (code, registered(simulator) is None) == (1, False)


async def test_a_url_that_does_not_lead_here_is_not_registered(simulator, env, tmp_path):
    async with Stub(web.Response(text="<html>")) as stub:
        arguments = ("--url", stub.url, "--events", EVENTS)
        said = await dingbridge_callback(tmp_path, env, "register", *arguments)
        assert (said.code, stub.seen, registered(simulator)) == (1, 1, None)
        assert "nothing was registered" in said.err
        assert "no ingress answers there" in said.err
        said = await dingbridge_callback(tmp_path, env, "register", *arguments, "--dry-run")
        assert said.code == 1
        # the operator may know better; DingTalk's own check says the rest
        said = await dingbridge_callback(tmp_path, env, "register", *arguments, "--no-check")
        assert (said.code, registered(simulator)) == (1, None)
        assert "71009" in said.err
        # before anything is registered at DingTalk, or where it is done in its console
        said = await dingbridge_callback(tmp_path, env, "verify", "--url", stub.url)
        assert said.code == 1
        assert "NOT reached" in said.out


async def test_verify_names_credentials_that_differ_without_showing_them(simulator, door, env, tmp_path):
    env = beside(env, door)
    await dingbridge_callback(tmp_path, env, "register", "--url", door.url, "--events", EVENTS)
    other = {**env, "DINGTALK_TOKEN": "anotherTokenOfOurs"}
    said = await dingbridge_callback(tmp_path, other, "verify", "--events", EVENTS)
    assert said.code == 1
    assert "token: registered is another one" in said.out
    assert "(403)" in said.out
    assert TOKEN not in said.out


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            web.Response(status=301, headers={"Location": "https://u:p@b.example.com/x?k=v"}),
            "b.example.com/x (",
        ),
        (web.Response(status=302), "follows no redirect"),
        (web.Response(status=400), "proxy in front"),
        (web.Response(status=403), "DINGTALK_OWNER_KEY"),
        (web.Response(status=404), "CALLBACK_PATH"),
        (web.Response(status=405), "no POST"),
        (web.Response(status=500), "status 500"),
        (web.Response(status=502), "no ingress behind it"),
        (web.Response(text="success"), "no ingress answers there"),
        (web.Response(text="{}"), "msg_signature"),
    ],
    ids=lambda value: getattr(value, "status", ""),
)
async def test_what_stands_there_instead_is_said(answer, words):
    async with Stub(answer) as stub:
        found = await round_trip(stub.url, OURS, admin="127.0.0.1:1")
    assert (found.reached, found.answers) == ("not", False)
    assert words in found.words
    for secret in ("u:p", "k=v", "signature=", TOKEN, AES_KEY):
        assert secret not in found.words


async def test_what_does_not_answer_is_said():
    found = await round_trip(f"http://127.0.0.1:{free_port()}/callback", OURS, admin="127.0.0.1:1")
    assert "no connection" in found.words
    found = await round_trip("http://no-such-host.invalid/callback", OURS, admin="127.0.0.1:1")
    assert "cannot be resolved" in found.words
    async with Stub(web.Response()) as stub:
        found = await round_trip(stub.url.replace("http:", "https:"), OURS, admin="127.0.0.1:1")
    assert "TLS fails" in found.words


async def test_the_nonce_tells_this_ingress_from_another_with_the_same_credentials(door, tmp_path):
    other = Door(tmp_path / "other")
    async with other:
        admin = f"127.0.0.1:{door.private.port}"
        assert (await round_trip(door.url, OURS, admin=admin)).reached == "here"
        assert (await round_trip(other.url, OURS, admin=admin)).reached == "elsewhere"
        assert (await round_trip(other.url, OURS, admin="127.0.0.1:1")).reached == "unasked"

        # behind one address that passes requests to either, it is found
        turn = 0

        async def one_after_other(request):
            nonlocal turn
            turn += 1
            target = door if turn % 3 == 0 else other
            async with (
                aiohttp.ClientSession() as http,
                http.post(target.url, params=request.query, data=await request.read()) as answer,
            ):
                return web.Response(body=await answer.read(), status=answer.status)

        stub = Stub()
        stub.handle = one_after_other
        async with stub:
            assert (await round_trip(stub.url, OURS, admin=admin)).reached == "here"
    assert turn == 3 <= TRIES


async def test_the_public_listener_tells_nothing_of_a_nonce(door):
    async with aiohttp.ClientSession() as http:
        for path in ("/checks/" + "0" * 32, "/callback"):
            async with http.get(door.url.removesuffix("/callback") + path) as answer:
                assert answer.status in (404, 405)
                assert "seen" not in await answer.text()
        private = f"http://127.0.0.1:{door.private.port}/checks/"
        async with http.get(private + "0" * 32) as answer:
            assert await answer.json() == {"seen": False}


async def test_of_many_checks_the_last_are_remembered(door):
    for number in range(70):
        door.diagnostics.check_seen(f"{number:032x}", "default")
    async with aiohttp.ClientSession() as http:
        found = {}
        for number in (0, 69):
            async with http.get(f"http://127.0.0.1:{door.private.port}/checks/{number:032x}") as answer:
                found[number] = json.loads(await answer.read())
    assert found == {0: {"seen": False}, 69: {"seen": True, "app": "default"}}


async def test_verify_fails_while_dingtalks_own_pushes_are_refused_for_their_owner_key(
    simulator, door, env, tmp_path
):
    async def push(owner):
        query, body = signed(b'{"EventType": "check_in"}', Credentials(TOKEN, AES_KEY, (owner,)))
        async with aiohttp.ClientSession() as http, http.post(door.url, params=query, data=body) as answer:
            return answer.status

    env = beside(env, door)
    await dingbridge_callback(tmp_path, env, "register", "--url", door.url, "--events", EVENTS)
    assert await push(OWNER) == 200
    assert (await dingbridge_callback(tmp_path, env, "verify", "--events", EVENTS)).code == 0
    assert await push("dingcorp9") == 403
    said = await dingbridge_callback(tmp_path, env, "verify", "--events", EVENTS)
    assert said.code == 1
    assert "NOT accepted: DingTalk encrypts for dingcorp9, refused 1 times" in said.out
    assert f"DINGTALK_OWNER_KEY={OWNER},dingcorp9" in said.out


async def test_of_an_app_in_stream_mode_show_tells_the_connections_and_nothing_is_registered(
    simulator, door, env, tmp_path
):
    status = {"connections": 2, "last_frame_s": 3.1, "events": 12, "refused": None}

    async def stream(request):
        return web.json_response({"apps": {"default": status} if status else {}})

    await door.private.stop()
    door.private = door.with_routes([web.get("/stream", stream)])
    await door.private.start()
    assert (await dingbridge_callback(tmp_path, env, "register", "--no-check", "--url", door.url)).code == 0
    without = ("DINGTALK_TOKEN", "DINGTALK_AES_KEY", "DINGTALK_OWNER_KEY")
    env = {k: v for k, v in beside(env, door).items() if k not in without} | {"DINGTALK_MODE": "stream"}

    said = await dingbridge_callback(tmp_path, env, "show")
    assert (said.code, said.err) == (0, "")
    for words in (
        "mode         stream",
        "2 open",
        "3 s ago",
        "12 since",
        "  user_add_org",
        f"note: {door.url}",
    ):
        assert words in said.out
    assert (await dingbridge_callback(tmp_path, env, "delete", "--yes")).code == 0, "what HTTP left behind"
    assert "note: " not in (await dingbridge_callback(tmp_path, env, "show")).out

    for arguments in (
        ("register", "--url", door.url),
        ("update",),
        ("verify",),
        ("rotate", "--app", "default"),
    ):
        said = await dingbridge_callback(tmp_path, env, *arguments)
        assert (said.code, "callback show" in said.err) == (2, True), said
    assert registered(simulator) is None

    status |= {"connections": 0, "last_frame_s": None, "refused": "DingTalk knows no such clientId"}
    said = await dingbridge_callback(tmp_path, env, "show")
    assert (said.code, "NONE open: DingTalk knows no such clientId" in said.out) == (1, True)
    status.clear()
    said = await dingbridge_callback(tmp_path, env, "show")
    assert (said.code, "start it again" in said.out) == (1, True)
    said = await dingbridge_callback(tmp_path, env | {"ADMIN_PORT": str(free_port())}, "show")
    assert (said.code, "ADMIN_PORT" in said.out) == (1, True)
