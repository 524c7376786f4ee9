"""``dingbridge callback`` with the simulator and an ingress: from nothing to registered."""

import asyncio
import json
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from dingbridge.cli.callback.check import look
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.doctor.checks.url import TRIES
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from tests.integration.callback_support import (
    AES_KEY,
    OURS,
    OWNER,
    TOKEN,
    Listener,
    Stub,
    dingbridge_callback,
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
async def listener(tmp_path):
    async with Listener(tmp_path / "journal") as listener:
        yield listener


@pytest.fixture
def env(simulator):
    return {
        "DINGTALK_TOKEN": TOKEN,
        "DINGTALK_AES_KEY": AES_KEY,
        "DINGTALK_OWNER_KEY": OWNER,
        "DINGTALK_APP_KEY": SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
        "DINGTALK_APP_SECRET": SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
        "DINGTALK_CORP_ID": SAMPLE_CREDENTIALS["DINGTALK_CORP_ID"],
        "DINGTALK_API_BASE": simulator.base_url,
    }


def beside(env, listener):
    return {**env, "ADMIN_PORT": str(listener.private.port)}


def registered(simulator):
    current = simulator.callbacks.current
    return None if current is None else (current.target.url, sorted(current.tags))


async def test_registered_replaced_and_deleted(simulator, listener, env, tmp_path):
    env = beside(env, listener)
    new = ("--replace", "--events", EVENTS)  # of nothing
    said = await dingbridge_callback(tmp_path, env, "register", *new)
    assert (said.code, "callback register --url" in said.err) == (1, True)
    said = await dingbridge_callback(tmp_path, env, "register", "--url", listener.url, *new)
    assert said.code == 0, said.err
    assert "url.http" in said.out
    assert "url.ok" in said.out
    assert f"registered: {listener.url}" in said.out
    assert registered(simulator) == (listener.url, ["user_add_org", "user_leave_org"])
    shown = await dingbridge_callback(tmp_path, env, "show")
    assert (shown.code, listener.url in shown.out) == (0, True)
    assert f" ({len(TOKEN)} characters)" in shown.out
    for secret in (TOKEN, AES_KEY):
        assert secret not in shown.out + shown.err

    said = await dingbridge_callback(tmp_path, env, "register", "--url", listener.url, "--events", "check_in")
    assert (said.code, registered(simulator)[1]) == (1, ["user_add_org", "user_leave_org"])
    assert "71006" in said.err
    assert "dingbridge callback register --replace" in said.err

    said = await dingbridge_callback(tmp_path, env, "register", "--replace", "--events", "check_in")
    assert (said.code, registered(simulator)) == (0, (listener.url, ["check_in"]))
    assert f"replaced: {listener.url}" in said.out

    said = await dingbridge_callback(tmp_path, env, "delete", "--yes")
    assert (said.code, registered(simulator)) == (0, None)
    for gone in ("delete", "show"):
        said = await dingbridge_callback(tmp_path, env, gone)
        assert (said.code, "callback register --url" in said.err) == (1, True)


async def test_without_events_it_is_what_the_consumers_read(simulator, listener, env, tmp_path):
    said = await dingbridge_callback(tmp_path, beside(env, listener), "register", "--url", listener.url)
    assert said.code == 0, said.err
    _, tags = registered(simulator)
    assert {"user_add_org", "bpms_instance_change"} <= set(tags)


async def test_what_is_registered_is_verified(simulator, listener, env, tmp_path):
    env = beside(env, listener)
    await dingbridge_callback(tmp_path, env, "register", "--url", listener.url, "--events", "check_in")
    said = await dingbridge_callback(tmp_path, env, "verify")
    assert (said.code, "tags.missing" in said.out, "url.ok" in said.out) == (1, True, True)
    assert (await dingbridge_callback(tmp_path, env, "update")).code == 0
    said = await dingbridge_callback(tmp_path, env, "verify")
    assert (said.code, "tags.ok" in said.out) == (0, True), said.out
    said = await dingbridge_callback(tmp_path, env, "verify", "--url", f"{listener.url}/nobody")
    assert (said.code, "tags.ok" in said.out) == (1, False), said.out


async def test_a_dry_run_changes_nothing(simulator, listener, env, tmp_path):
    env = beside(env, listener)
    arguments = ("--url", listener.url, "--events", EVENTS)
    said = await dingbridge_callback(tmp_path, env, "register", *arguments, "--dry-run")
    assert (said.code, registered(simulator)) == (0, None)
    assert f"would be registered: {listener.url}" in said.out
    assert (await dingbridge_callback(tmp_path, env, "register", *arguments)).code == 0
    before = registered(simulator)
    said = await dingbridge_callback(tmp_path, env, "delete", "--dry-run")
    assert f"would delete: {listener.url}" in said.out
    assert registered(simulator) == before


async def test_credentials_are_generated_into_files_that_others_cannot_read(simulator, env, tmp_path):
    del env["DINGTALK_TOKEN"], env["DINGTALK_AES_KEY"]
    files = [tmp_path / "secrets" / name for name in ("token", "aes-key")]
    env |= {"DINGTALK_TOKEN_FILE": str(files[0]), "DINGTALK_AES_KEY_FILE": str(files[1])}
    port = free_port()
    url = f"http://127.0.0.1:{port}/callback"
    said = await dingbridge_callback(tmp_path, env, "generate")
    assert said.code == 0, said.err
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    token, aes_key = (file.read_text().strip() for file in files)

    # what is there already is never written over
    said = await dingbridge_callback(tmp_path, env, "generate")
    assert (said.code, files[0].read_text().strip()) == (2, token)
    assert said.err.count("exists already") == 2

    # the ingress is started with them, while the command waits for it
    listener = Listener(tmp_path / "journal", Credentials(token, aes_key, (OWNER,)))
    listener.port = port
    waiting = asyncio.ensure_future(
        dingbridge_callback(tmp_path, env, "register", "--url", url, "--events", EVENTS, "--wait", "60")
    )
    async with listener:
        said = await waiting
    assert said.code == 0, said.err
    assert registered(simulator) == (url, ["user_add_org", "user_leave_org"])
    assert simulator.callbacks.current.target.token == token


async def test_it_asks_on_a_terminal_before_it_deletes(simulator, listener, env, tmp_path):
    env = beside(env, listener)
    await dingbridge_callback(tmp_path, env, "register", "--url", listener.url, "--events", EVENTS)
    code, shown = await asyncio.to_thread(on_terminal, env, tmp_path, "callback", "delete", answer="n")
    assert "[y/N]" in shown
    assert (code, registered(simulator) is None) == (1, False)
    refused = await dingbridge_callback(tmp_path, env, "delete")
    assert (refused.code, registered(simulator) is None) == (2, False), "nobody is there to be asked"


async def test_a_url_that_does_not_lead_here_is_not_registered(simulator, env, tmp_path):
    async with Stub(web.Response(text="<html>")) as stub:
        arguments = ("--url", stub.url, "--events", EVENTS)
        said = await dingbridge_callback(tmp_path, env, "register", *arguments)
        assert (said.code, stub.seen, registered(simulator)) == (1, 1, None)
        assert "nothing was registered" in said.err
        assert "it is no ingress with our settings" in said.err
        # the operator may know better; DingTalk's own check says the rest
        said = await dingbridge_callback(tmp_path, env, "register", *arguments, "--no-check")
        assert (said.code, registered(simulator)) == (1, None)
        assert "71009" in said.err


async def found(url, admin="http://127.0.0.1:1"):
    """The code of what answers at ``url``, ``admin`` being the private listener."""
    [finding] = [
        one
        for one in await look(url, OURS, SimpleNamespace(admin=admin, live=False))
        if one.code != "url.http"
    ]
    return finding.code


async def test_the_nonce_tells_this_ingress_from_another_with_the_same_credentials(listener, tmp_path):
    other = Listener(tmp_path / "other")
    async with other:
        admin = f"http://127.0.0.1:{listener.private.port}"
        assert await found(listener.url, admin) == "url.ok"
        assert await found(other.url, admin) == "url.elsewhere"
        assert await found(other.url) == "url.ok", "nobody can be asked"

        # behind one address that passes requests to either, it is found
        turn = 0

        async def one_after_other(request):
            nonlocal turn
            turn += 1
            target = listener if turn % 3 == 0 else other
            async with (
                aiohttp.ClientSession() as http,
                http.post(target.url, params=request.query, data=await request.read()) as answer,
            ):
                return web.Response(body=await answer.read(), status=answer.status)

        stub = Stub()
        stub.handle = one_after_other
        async with stub:
            assert await found(stub.url, admin) == "url.ok"
    assert turn == 3 <= TRIES


async def test_the_public_listener_tells_nothing_of_a_nonce(listener):
    async with aiohttp.ClientSession() as http:
        for path in ("/checks/" + "0" * 32, "/callback"):
            async with http.get(listener.url.removesuffix("/callback") + path) as answer:
                assert answer.status in (404, 405)
                assert "seen" not in await answer.text()
        private = f"http://127.0.0.1:{listener.private.port}/checks/"
        async with http.get(private + "0" * 32) as answer:
            assert await answer.json() == {"seen": False}


async def test_of_many_checks_the_last_are_remembered(listener):
    for number in range(70):
        listener.diagnostics.check_seen(f"{number:032x}", "default")
    async with aiohttp.ClientSession() as http:
        found = {}
        for number in (0, 69):
            async with http.get(f"http://127.0.0.1:{listener.private.port}/checks/{number:032x}") as answer:
                found[number] = json.loads(await answer.read())
    assert found == {0: {"seen": False}, 69: {"seen": True, "app": "default"}}


async def test_of_an_app_in_stream_mode_show_tells_the_connections_and_nothing_is_registered(
    simulator, listener, env, tmp_path
):
    status = {"connections": 2, "last_frame_s": 3.1, "events": 12, "refused": None}

    async def stream(request):
        return web.json_response({"apps": {"default": status}})

    await listener.private.stop()
    listener.private = listener.with_routes([web.get("/stream", stream)])
    await listener.private.start()
    assert (
        await dingbridge_callback(tmp_path, env, "register", "--no-check", "--url", listener.url)
    ).code == 0
    without = ("DINGTALK_TOKEN", "DINGTALK_AES_KEY", "DINGTALK_OWNER_KEY")
    env = {k: v for k, v in beside(env, listener).items() if k not in without} | {"DINGTALK_MODE": "stream"}

    said = await dingbridge_callback(tmp_path, env, "show")
    assert (said.code, said.err) == (0, "")
    for words in (
        "are open: 2",
        "ingress started: 12",
        "user_add_org",
        f"Stream, {listener.url} is registered",
    ):
        assert words in " ".join(said.out.split())
    assert (await dingbridge_callback(tmp_path, env, "delete", "--yes")).code == 0, "what HTTP left behind"
    assert "stream.registered" not in (await dingbridge_callback(tmp_path, env, "show")).out

    for arguments in (("register", "--url", listener.url), ("rotate", "--app", "default")):
        said = await dingbridge_callback(tmp_path, env, *arguments)
        assert (said.code, "callback show" in said.err) == (2, True), said
    assert registered(simulator) is None
