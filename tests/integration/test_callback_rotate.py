"""``dingbridge callback rotate``: new credentials for a registered callback, no push refused in between."""

import asyncio
import re
import tomllib
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from dingbridge.cli.callback.rotate import alone
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.doctor.findings import found
from dingbridge.ingress.credentials import CredentialsWatcher
from dingbridge.ingress.metrics import HttpMetrics
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from dingbridge.simulator.server import Simulator
from tests.integration.callback_support import Listener, dingbridge_callback, push
from tests.integration.simulator_support import settings
from tests.support.processes import eventually, free_port

OWNER = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"]
EVENTS = "user_add_org,user_modify_org,user_leave_org"
EVENT = (
    b'{"EventType":"user_add_org","TimeStamp":"1731000000123","UserId":["u1"],"CorpId":"dingcorpsample01"}'
)


def write(folder):
    """An apps file with secrets in files beside it."""
    secrets = {"hr.token": "tokenOfHr01", "hr.aes-key": "h" * 43}
    secrets["hr.secret"] = SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]
    for name, secret in secrets.items():
        (folder / name).write_text(secret)
    file = folder / "apps.toml"
    file.write_text(
        f"""[apps.hr]
token_file = "hr.token"
aes_key_file = "hr.aes-key"
owner_keys = ["{OWNER}"]
app_key = "{OWNER}"
app_secret_file = "hr.secret"
corp_id = "dingcorpsample01"
"""
    )
    return file


def pairs(file):
    """The credentials of the file: current, to come, previous."""
    table = tomllib.loads(file.read_text())["apps"]["hr"]

    def read(entry):
        token, key = (
            (file.parent / entry[f"{name}_file"]).read_text().strip() for name in ("token", "aes_key")
        )
        return Credentials(token, key, (OWNER,))

    following = read(table["next"]) if "next" in table else None
    return read(table), following, [read(entry) for entry in table.get("previous", [])]


@pytest.fixture
async def simulator():
    async with Simulator(settings()) as simulator:
        yield simulator


@pytest.fixture
async def live(tmp_path, simulator, monkeypatch):
    """An ingress in this process that reads the file often; its environment, for the command."""
    file = write(tmp_path)
    env = {"DINGTALK_APPS_FILE": str(file), "DINGTALK_API_BASE": simulator.base_url}
    for name in SAMPLE_CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("dingbridge.ingress.credentials.EVERY_S", 0.02)
    listener = Listener(tmp_path / "journal")
    apps = CredentialsWatcher(IngressSettings.load(), listener.public.serve, HttpMetrics(CollectorRegistry()))
    listener.private = listener.with_routes([apps.route()])
    async with listener:
        watching = asyncio.ensure_future(apps.watch())
        env["ADMIN_PORT"] = str(listener.private.port)
        said = await dingbridge_callback(
            tmp_path, env, "register", "--app", "hr", "--url", f"{listener.url}/hr", "--events", EVENTS
        )
        assert said.code == 0, said.err
        yield listener, file, env
        watching.cancel()


async def test_new_ones_are_accepted_registered_and_the_old_ones_retired(simulator, live, tmp_path):
    listener, file, env = live
    old, _, _ = pairs(file)
    said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr", "--dry-run")
    assert (said.code, pairs(file)) == (0, (old, None, []))

    said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr", "--grace", "2h")
    assert said.code == 0, said.err
    new, following, previous = pairs(file)
    assert (following, previous) == (None, [old])
    target = simulator.callbacks.current.target
    assert (target.token, target.aes_key, target.url) == (new.token, new.aes_key, f"{listener.url}/hr")
    assert set(simulator.callbacks.current.tags) == set(EVENTS.split(","))
    for secret in (old, new):
        assert secret.token not in said.out + said.err
    assert {p.stat().st_mode & 0o777 for p in tmp_path.glob("hr.*T*")} == {0o600}

    # a third pair at the same time there is not
    said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr")
    assert (said.code, "two at a time" in said.err) == (1, True)

    # two hours later
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    file.write_text(re.sub(r"until = .*", f"until = {past}", file.read_text()))
    async with aiohttp.ClientSession() as http:

        async def retired():
            return await push(http, f"{listener.url}/hr", EVENT, old) == 403

        await eventually(retired, 30, "the old ones are refused")
        assert await push(http, f"{listener.url}/hr", EVENT, new) == "success"
    # and so on, without leaving more and more behind
    said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr", "--grace", "2h")
    assert said.code == 0, said.err
    assert pairs(file)[2] == [new]


class Killed(BaseException):
    """Ends the command where it stands, as SIGKILL would."""


@pytest.mark.parametrize(
    "where", ["before the file", "before DingTalk", "after DingTalk", "DingTalk refuses"]
)
async def test_ended_anywhere_both_are_accepted_and_the_same_command_goes_on(
    simulator, live, tmp_path, monkeypatch, where
):
    listener, file, env = live
    old, _, _ = pairs(file)
    update = DingTalkClient.update_call_back

    async def ends(self, **wanted):
        if where == "after DingTalk":
            await update(self, **wanted)
        if where == "DingTalk refuses":
            await update(self, **{**wanted, "url": "http://127.0.0.1:1/callback"})
        raise Killed

    def ends_writing(path, text):
        raise Killed

    with monkeypatch.context() as patched:
        if where == "before the file":
            patched.setattr("dingbridge.apps.edit.put_in_place", ends_writing)
        else:
            patched.setattr(DingTalkClient, "update_call_back", ends)
        if where == "DingTalk refuses":
            said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr")
            assert (said.code, "71012" in said.err) == (1, True)
        else:
            with pytest.raises(Killed):
                await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr")

    _, begun, _ = pairs(file)
    assert (begun is None) == (where == "before the file")
    async with aiohttp.ClientSession() as http:
        for accepted in [pair for pair in (old, begun) if pair is not None]:
            assert await push(http, f"{listener.url}/hr", EVENT, accepted) == "success"

        said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr")
        assert said.code == 0, said.err
        new, following, previous = pairs(file)
        assert (following, previous, new) == (None, [old], begun or new)
        assert simulator.callbacks.current.target.token == new.token
        for accepted in (old, new):
            assert await push(http, f"{listener.url}/hr", EVENT, accepted) == "success"


async def test_dingtalk_is_told_nothing_before_the_ingress_accepts_them(
    simulator, live, tmp_path, monkeypatch
):
    _, file, env = live
    old, _, _ = pairs(file)
    monkeypatch.setattr("dingbridge.cli.callback.rotate.TAKEN_WITHIN_S", 0.1)
    said = await dingbridge_callback(
        tmp_path, {**env, "ADMIN_PORT": str(free_port())}, "rotate", "--app", "hr"
    )
    assert (said.code, "ADMIN_PORT" in said.err) == (1, True)

    async def fails(*_, **__):
        return [found("url.refused", url="https://bridge.example.com")]

    monkeypatch.setattr("dingbridge.cli.callback.rotate.TAKEN_WITHIN_S", 30)
    with monkeypatch.context() as patched:
        patched.setattr("dingbridge.cli.callback.check.look", fails)
        said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr")
    assert (said.code, "a proxy's own rule" in said.err) == (1, True)
    assert simulator.callbacks.current.target.token == old.token


async def test_what_cannot_be_rotated_is_said(simulator, live, tmp_path):
    _, _, env = live
    said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "sales")
    assert (said.code, "sales" in said.err) == (2, True)
    own = {"DINGTALK_TOKEN": "tokenOfOurs1", "DINGTALK_AES_KEY": "k" * 43, "DINGTALK_OWNER_KEY": OWNER}
    own |= {"DINGTALK_APP_KEY": OWNER, "DINGTALK_APP_SECRET": SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]}
    own["DINGTALK_CORP_ID"] = SAMPLE_CREDENTIALS["DINGTALK_CORP_ID"]
    api = {"DINGTALK_API_BASE": simulator.base_url}
    said = await dingbridge_callback(tmp_path, {**own, **api}, "rotate", "--app", "default")
    assert (said.code, "[apps.default]" in said.err) == (2, True)
    said = await dingbridge_callback(tmp_path, {**env, **own}, "rotate", "--app", "default")
    assert (said.code, "room for one pair" in said.err) == (2, True)
    said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr", "--grace", "soon")
    assert (said.code, "as 90m, 24h" in said.err) == (2, True)
    with alone(tmp_path / "apps.toml"):
        said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr")
    assert (said.code, "another rotation is under way" in said.err) == (1, True)
    (tmp_path / "hr.token").write_text("anotherToken")
    said = await dingbridge_callback(tmp_path, env, "rotate", "--app", "hr")
    assert (said.code, "dingbridge doctor" in said.err) == (1, True)
