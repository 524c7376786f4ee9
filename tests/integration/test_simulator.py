"""The simulator over real HTTP, with a small receiver that decrypts and answers as a callback URL should."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters
from simulator import push as push_module
from simulator.platform import Platform
from simulator.server import Simulator
from simulator.settings import SimulatorSettings
from tests.support.waiting import eventually

TOKEN = "sampletoken"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OWNER = "dingsampleappkey01"
CREDENTIALS = Credentials(TOKEN, AES_KEY, (OWNER,))
TAGS = ["user_add_org", "user_modify_org", "user_leave_org", "bpms_instance_change", "bpms_task_change"]

Answer = Callable[["Receiver", web.Request, Any], Any]


class Receiver:
    """A callback URL. ``answers`` are used up one request after the other; then all are right."""

    def __init__(self) -> None:
        self.crypto = CallbackCrypto([CREDENTIALS])
        self.plaintexts: list[bytes] = []
        self.queries: list[dict[str, str]] = []
        self.answers: list[Answer] = []
        self.forever: Answer | None = None
        self.released = asyncio.Event()
        self.at_once = self.most_at_once = 0
        self.url = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.plaintexts]

    def right(self, opened: Any, message: bytes = b"success") -> web.Response:
        return web.json_response(
            self.crypto.seal(message, opened, timestamp="1731000000000", nonce="abcdefgh")
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        body = await request.json()
        opened = self.crypto.open(SignatureParameters.from_query(request.query), body["encrypt"])
        self.plaintexts.append(opened.plaintext)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.answers.pop(0) if self.answers else self.forever
            if answer is None:
                return self.right(opened)
            result = answer(self, request, opened)
            return await result if asyncio.iscoroutine(result) else result
        finally:
            self.at_once -= 1


def unavailable(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    return web.Response(status=503)


def plain_success(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    return web.Response(text="success")


def other_text(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    return receiver.right(opened, b"ok")


def wrong_signature(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    sealed = receiver.crypto.seal(b"success", opened, timestamp="1", nonce="n")
    return web.json_response(sealed | {"timeStamp": "2"})


def redirect(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    return web.Response(status=301, headers={"Location": "/elsewhere"})


async def until_released(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    await receiver.released.wait()
    return receiver.right(opened)


@asynccontextmanager
async def serving(receiver: Receiver) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/callback", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    try:
        yield
    finally:
        receiver.released.set()
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver):
        yield receiver


def settings(**options: Any) -> SimulatorSettings:
    defaults = {"port": 0, "users": 30, "departments": 6, "duplicates": 0, "retry_scale": 0.001}
    return SimulatorSettings.load(**{f"simulator_{k}": v for k, v in (defaults | options).items()})


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(settings()) as simulator:
        yield simulator


class Api:
    """Plain calls, as the documents have them: nothing here is our client."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self.base, self.session = base, session
        self.token = ""

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        async with self.session.get(self.base + path, params=query) as response:
            return await response.json()

    async def post(self, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        async with self.session.post(self.base + path, params=query, json=body) as response:
            return await response.json()

    async def login(self) -> None:
        answer = await self.get(
            "/gettoken", appkey="dingsampleappkey01", appsecret="dingbridge-sample-secret-not-secret"
        )
        assert (answer["errcode"], answer["errmsg"], answer["expires_in"]) == (0, "ok", 7200)
        self.token = answer["access_token"]

    async def call(self, path: str, body: Any) -> dict[str, Any]:
        return await self.post(path, body, access_token=self.token)

    async def fetch(self, path: str) -> dict[str, Any]:
        return await self.get(path, access_token=self.token)

    async def register(self, receiver: Receiver, tags: list[str] | None = None) -> dict[str, Any]:
        body = {"call_back_tag": tags or TAGS, "token": TOKEN, "aes_key": AES_KEY, "url": receiver.url}
        return await self.call("/call_back/register_call_back", body)


@pytest.fixture
async def api(simulator: Simulator) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        api = Api(simulator.base_url, session)
        await api.login()
        yield api


async def test_access_tokens(simulator: Simulator, api: Api) -> None:
    first = api.token
    await api.login()
    assert api.token == first
    wrong = await api.get("/gettoken", appkey="dingsampleappkey01", appsecret="no")
    assert wrong["errcode"] == 40089
    assert "access_token" not in wrong
    path = "/topapi/v2/department/get"
    assert (await api.post(path, {"dept_id": 1}))["errcode"] == 41001
    assert (await api.post(path, {"dept_id": 1}, access_token="other"))["errcode"] == 40014
    simulator.tokens.expire()
    assert (await api.call(path, {"dept_id": 1}))["errcode"] == 42001
    await api.login()
    assert (await api.call(path, {"dept_id": 1}))["errcode"] == 0


async def test_register_checks_the_url_and_then_tells_what_is_registered(
    receiver: Receiver, api: Api
) -> None:
    assert (await api.fetch("/call_back/get_call_back"))["errcode"] == 71007
    receiver.url += "?r=/ding/call-back"
    assert await api.register(receiver) == {"errcode": 0, "errmsg": "ok"}
    assert receiver.plaintexts == [b'{"EventType":"check_url"}']
    assert set(receiver.queries[0]) == {"r", "signature", "msg_signature", "timestamp", "nonce"}
    assert receiver.queries[0]["r"] == "/ding/call-back"
    assert await api.fetch("/call_back/get_call_back") == {
        "errcode": 0,
        "errmsg": "ok",
        "call_back_tag": TAGS,
        "token": TOKEN,
        "aes_key": AES_KEY,
        "url": receiver.url,
    }
    assert (await api.register(receiver))["errcode"] == 71006
    body = {"call_back_tag": ["user_add_org"], "token": TOKEN, "aes_key": AES_KEY, "url": receiver.url}
    assert (await api.call("/call_back/update_call_back", body))["errcode"] == 0
    assert (await api.fetch("/call_back/get_call_back"))["call_back_tag"] == ["user_add_org"]
    assert (await api.fetch("/call_back/delete_call_back"))["errcode"] == 0
    assert (await api.fetch("/call_back/delete_call_back"))["errcode"] == 71007
    assert (await api.call("/call_back/update_call_back", body))["errcode"] == 71007


@pytest.mark.parametrize(
    ("answer", "errcode", "words"),
    [
        (plain_success, 71009, "JSON"),
        (other_text, 71009, "success"),
        (wrong_signature, 71009, "签名"),
        (unavailable, 71012, "http statusCode is:503"),
        (redirect, 71012, "不允许3xx跳转"),
    ],
)
async def test_a_wrong_answer_to_check_url_is_named(
    receiver: Receiver, api: Api, answer: Answer, errcode: int, words: str
) -> None:
    receiver.answers = [answer]
    refused = await api.register(receiver)
    assert refused["errcode"] == errcode
    assert words in refused["errmsg"]
    assert (await api.fetch("/call_back/get_call_back"))["errcode"] == 71007
    assert (await api.register(receiver))["errcode"] == 0


async def test_a_slow_answer_to_check_url_is_a_time_out(receiver: Receiver, api: Api) -> None:
    receiver.answers = [until_released]
    refused = await api.register(receiver)
    assert refused["errcode"] == 71012
    assert "Read timed out" in refused["errmsg"]


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"call_back_tag": ["user_add_org", "no_such_event"]}, 71008),
        ({"call_back_tag": ["check_url"]}, 71008),
        ({"call_back_tag": []}, 71010),
        ({"call_back_tag": "user_add_org"}, 71010),
        ({"token": "short"}, 71010),
        ({"token": "t" * 64}, 71010),
        ({"token": None}, 71010),
        ({"aes_key": "k" * 42}, 71010),
        ({"aes_key": "-" * 43}, 71010),
        ({"url": None}, 71010),
        ({"url": "ftp://example.com/x"}, 71011),
        ({"url": "http://exa mple.com/"}, 71011),
        ({"url": "http://127.0.0.1:99999/"}, 71011),
        ({"url": "https://oapi.dingtalk.com/callback"}, 71013),
        ({"url": "http://127.0.0.1:1/callback"}, 71012),
    ],
)
async def test_a_registration_is_validated(
    receiver: Receiver, api: Api, change: dict[str, Any], errcode: int
) -> None:
    body = {"call_back_tag": TAGS, "token": TOKEN, "aes_key": AES_KEY, "url": receiver.url} | change
    assert (await api.call("/call_back/register_call_back", body))["errcode"] == errcode
    assert receiver.plaintexts == []


async def test_only_registered_tags_are_pushed_and_each_once(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.post("/_sim/act", {"action": "hire"})
    await api.register(receiver, ["user_add_org"])
    done = await api.post("/_sim/act", {"action": "hire", "count": 2, "follow_up": True})
    assert [e["event_type"] for e in done["events"]] == ["user_add_org", "user_modify_org"]
    assert len(done["pushes"]) == 1
    await simulator.pusher.drain()
    assert receiver.events[1:] == [done["events"][0]["payload"]]
    listed = await api.get("/_sim/pushes", since=0)
    (entry,) = listed["pushes"]
    assert listed["last_id"] == entry["id"] == done["pushes"][0]
    assert entry["event_type"] == "user_add_org"
    assert entry["answered_success"] is True
    assert json.loads(entry["plaintext"]) == done["events"][0]["payload"]
    assert [(a["status"], a["outcome"]) for a in entry["attempts"]] == [(200, "success")]
    assert await api.get("/_sim/pushes", since=entry["id"]) == {"pushes": [], "last_id": entry["id"]}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (unavailable, "http_503"),
        (plain_success, "reply_not_json"),
        (other_text, "reply_text"),
        (wrong_signature, "reply_signature"),
        (redirect, "redirect"),
        (until_released, "timeout"),
    ],
)
async def test_a_push_that_is_not_answered_is_repeated(
    receiver: Receiver, api: Api, simulator: Simulator, answer: Answer, outcome: str
) -> None:
    await api.register(receiver)
    receiver.answers = [answer]
    await api.post("/_sim/act", {"action": "hire", "follow_up": False})
    await simulator.pusher.drain()
    (push,) = simulator.pusher.pushes()
    assert [a.outcome for a in push.attempts] == [outcome, "success"]
    assert push.state == "answered"
    assert receiver.plaintexts[1] == receiver.plaintexts[2] == push.plaintext
    assert receiver.queries[1] != receiver.queries[2]
    assert len(simulator.failed) == 0


async def test_retries_come_after_10_and_30_scaled_seconds(
    receiver: Receiver, api: Api, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    really = loop.call_later
    delays = []

    def call_later(delay: float, callback: Any, *args: Any, **more: Any) -> asyncio.TimerHandle:
        if getattr(callback, "__func__", None) is push_module.Pusher._retry:
            delays.append(delay)
        return really(delay, callback, *args, **more)

    monkeypatch.setattr(loop, "call_later", call_later)
    await api.register(receiver)
    receiver.forever = unavailable
    await api.post("/_sim/act", {"action": "hire", "follow_up": False})
    await simulator.pusher.drain()
    assert delays == [pytest.approx(0.010), pytest.approx(0.030)]


async def test_what_stays_unanswered_goes_to_the_failed_list(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.register(receiver)
    receiver.forever = unavailable
    hired = await api.post("/_sim/act", {"action": "hire", "count": 2, "follow_up": False})
    started = await api.post("/_sim/act", {"action": "start_approval", "process_code": "PROC-LEAVE"})
    drained = await api.post("/_sim/drain")
    assert drained["drained"] is True
    assert (drained["pushed"], drained["failed"], drained["answered"]) == (3, 3, 0)
    assert [len(p.attempts) for p in simulator.pusher.pushes()] == [3, 3, 3]
    # not at once: some minutes after the last retry, scaled like the retries
    await eventually(lambda: len(simulator.failed) == 3)
    listed = await api.fetch("/call_back/get_call_back_failed_result")
    assert (listed["errcode"], listed["has_more"]) == (0, False)
    by_tag = {item["call_back_tag"]: item for item in listed["failed_list"]}
    payload = hired["events"][0]["payload"]
    assert by_tag["user_add_org"]["user_add_org"] == {
        "userid": payload.get("UserId", payload.get("userId")),
        "corpid": "dingcorpsample01",
    }
    assert isinstance(by_tag["user_add_org"]["event_time"], int)
    instance = by_tag["bpms_instance_change"]["bpms_instance_change"]["bpmsCallBackData"]
    assert instance["processInstanceId"] == started["events"][0]["payload"]["processInstanceId"]
    again = await api.fetch("/call_back/get_call_back_failed_result")
    assert (again["failed_list"], again["has_more"]) == ([], False)


async def test_the_failed_list_comes_in_pages_of_200(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.register(receiver, ["user_add_org"])
    receiver.forever = unavailable
    for _ in range(250):
        simulator.act("hire", {"count": 1, "follow_up": False})
    await simulator.pusher.drain()
    await eventually(lambda: simulator.stats()["failed_unlisted"] == 0)
    first = await api.fetch("/call_back/get_call_back_failed_result")
    assert (len(first["failed_list"]), first["has_more"]) == (200, True)
    second = await api.fetch("/call_back/get_call_back_failed_result")
    assert (len(second["failed_list"]), second["has_more"]) == (50, False)
    assert simulator.stats()["failed_list"] == 50


async def test_after_an_outage_the_push_goes_where_the_callback_is_now(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.register(receiver)
    simulator.pusher.retry_scale = 1000  # waits far longer than this test
    receiver.answers = [unavailable]
    await api.post("/_sim/act", {"action": "hire", "follow_up": False})
    await eventually(lambda: simulator.pusher._timers)
    assert (await api.post("/_sim/drain", {"timeout_s": 0.05}))["drained"] is False
    assert simulator.pusher.pending == 1
    assert (await api.fetch("/call_back/delete_call_back"))["errcode"] == 0
    (push,) = simulator.pusher.pushes()
    simulator.pusher._timers[push.id].cancel()
    simulator.pusher._retry(push)
    await simulator.pusher.drain()
    assert push.state == "dropped"
    assert len(simulator.failed) == 0


async def test_pushes_at_once_are_bounded_and_none_is_lost(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.register(receiver, ["user_add_org"])
    receiver.forever = until_released
    for _ in range(100):
        simulator.act("hire", {"count": 1, "follow_up": False})
    await eventually(lambda: receiver.at_once >= push_module.CONCURRENCY)
    receiver.released.set()
    receiver.forever = None
    stats = await api.post("/_sim/drain")
    assert receiver.most_at_once == push_module.CONCURRENCY
    assert (stats["answered"], stats["pending"]) == (100, 0)
    assert 0 < stats["p50_ms"] <= stats["p99_ms"]
    assert stats["api_calls"]["/gettoken"] == 1
    assert set(receiver.plaintexts[1:]) == {p.plaintext for p in simulator.pusher.pushes()}


async def test_now_and_then_a_push_comes_twice(receiver: Receiver) -> None:
    async with Simulator(settings(duplicates=1)) as simulator, aiohttp.ClientSession() as session:
        api = Api(simulator.base_url, session)
        await api.login()
        await api.register(receiver)
        simulator.act("hire", {"count": 1, "follow_up": False})
        await simulator.pusher.drain()
    assert len(receiver.plaintexts) == 3
    assert receiver.plaintexts[1] == receiver.plaintexts[2]


async def test_users_of_a_department_page_by_page(api: Api, simulator: Simulator) -> None:
    company = simulator.platform.company
    dept = company.pick_department().dept_id
    simulator.act("hire", {"count": 5, "dept_ids": [dept]})
    members = company.members(dept)
    path = "/topapi/v2/user/list"
    seen: list[str] = []
    cursor = 0
    while True:
        answer = await api.call(path, {"dept_id": dept, "cursor": cursor, "size": 2})
        result = answer["result"]
        seen += [user["userid"] for user in result["list"]]
        if not result["has_more"]:
            break
        cursor = result["next_cursor"]
    assert seen == members
    assert "next_cursor" not in result
    for wrong in ({"cursor": 0, "size": 101}, {"cursor": -1, "size": 10}, {"cursor": 0, "size": 0}):
        assert (await api.call(path, {"dept_id": dept} | wrong))["errcode"] == 40035
    assert (await api.call(path, {"dept_id": dept, "size": 10}))["errcode"] == 400002
    assert (await api.call(path, {"dept_id": 7, "cursor": 0, "size": 10}))["errcode"] == 60003


async def test_the_open_api_shows_the_company(api: Api, simulator: Simulator) -> None:
    state = await api.get("/_sim/state")
    company = simulator.platform.company
    assert len(state["users"]) == len(company.users)
    for user in state["users"][:5]:
        answer = await api.call("/topapi/v2/user/get", {"userid": user["userid"], "language": "zh_CN"})
        assert answer["errcode"] == 0
        assert answer["request_id"]
        assert answer["result"] == user
    assert (await api.call("/topapi/v2/user/get", {"userid": "nobody"}))["errcode"] == 60121
    assert (await api.call("/topapi/v2/user/get", {}))["errcode"] == 400002

    async def below(dept_id: int) -> list[int]:
        listed = (await api.call("/topapi/v2/department/listsub", {"dept_id": dept_id}))["result"]
        ids = (await api.call("/topapi/v2/department/listsubid", {"dept_id": dept_id}))["result"][
            "dept_id_list"
        ]
        assert [d["dept_id"] for d in listed] == ids
        assert all(d["parent_id"] == dept_id for d in listed)
        return ids + [deeper for child in ids for deeper in await below(child)]

    assert {1, *await below(1)} == {d["dept_id"] for d in state["departments"]}
    for dept in state["departments"]:
        assert (await api.call("/topapi/v2/department/get", {"dept_id": dept["dept_id"]}))["result"] == dept
    assert (await api.call("/topapi/v2/department/get", {"dept_id": "1"}))["result"]["dept_id"] == 1
    assert (await api.call("/topapi/v2/department/get", {"dept_id": 7}))["errcode"] == 60003
    for approval in state["approvals"]:
        pid = approval["process_instance_id"]
        answer = await api.call("/topapi/processinstance/get", {"process_instance_id": pid})
        shown = {k: v for k, v in approval.items() if k not in ("process_instance_id", "process_code")}
        assert answer["process_instance"] == shown
    unknown = await api.call("/topapi/processinstance/get", {"process_instance_id": "x"})
    assert unknown["errcode"] == 400002


async def test_forms_and_broken_bodies(api: Api) -> None:
    query = {"access_token": api.token}
    url = api.base + "/topapi/v2/department/get"
    async with api.session.post(url, params=query, data={"dept_id": "1"}) as response:
        assert (await response.json())["result"]["dept_id"] == 1
    async with api.session.post(url, params=query, data=b"{no json") as response:
        assert (await response.json())["errcode"] == 43008
    async with api.session.get(url, params=query) as response:
        assert (await response.json())["errcode"] == 404


async def test_control_refuses_in_words(api: Api) -> None:
    for path, body, words in [
        ("/_sim/act", {}, "action"),
        ("/_sim/act", {"action": "fly"}, "no such action"),
        ("/_sim/rate", {"per_second": -1}, "per_second"),
        ("/_sim/act", [1], "JSON object"),
        ("/_sim/drain", {"timeout_s": "x"}, "timeout_s"),
    ]:
        assert words in (await api.post(path, body))["error"]
    assert "numbers" in (await api.get("/_sim/pushes", since="x"))["error"]


async def test_the_company_lives_at_a_rate_once_somebody_is_registered(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    assert await api.post("/_sim/rate", {"per_second": 500}) == {"per_second": 500.0}
    await api.register(receiver)
    await eventually(lambda: simulator.pusher.counts["answered"] >= 100)
    stats = await api.post("/_sim/drain")
    assert stats["rate"] == 0
    assert stats["pushed"] == stats["answered"] == len(receiver.plaintexts) - 1


async def test_a_script_is_acted_out_and_two_runs_are_alike(tmp_path: Path) -> None:
    script = tmp_path / "s.toml"
    script.write_text(
        '[[steps]]\nat = 0\naction = "hire"\nrepeat = 3\nevery = 0.01\n'
        '[[steps]]\nat = 0.05\naction = "start_approval"\n[[steps]]\nat = 0.06\naction = "refuse"\n'
        '[[steps]]\nat = 0.07\naction = "leave"\nuserid = "nobody"\n'
        '[[steps]]\nat = 0.08\naction = "create_department"\n'
    )

    async def run() -> list[Any]:
        receiver = Receiver()
        options = settings(script=script, generation="old", seed=9)
        async with serving(receiver), Simulator(options) as simulator, aiohttp.ClientSession() as session:
            api = Api(simulator.base_url, session)
            await api.login()
            await api.register(receiver, [*TAGS, "org_dept_create"])
            await eventually(lambda: any(e["EventType"] == "org_dept_create" for e in receiver.events))
            await simulator.pusher.drain()
            keys = ("EventType", "type", "UserId", "DeptId", "staffId", "processInstanceId")
            # in the order of events: pushes may arrive in another
            events = [json.loads(p.plaintext) for p in simulator.pusher.pushes()]
            return [[event.get(key) for key in keys] for event in events]

    first = await run()
    assert [e[0] for e in first if e[0].startswith("user_add")] == ["user_add_org"] * 3
    assert first == await run()


async def test_build_push_is_accepted_by_a_receiver(receiver: Receiver) -> None:
    event = Platform(users=3, departments=1).act("hire")[0]
    query, body = push_module.build_push(CREDENTIALS, event.plaintext(), OWNER)
    async with (
        aiohttp.ClientSession() as session,
        session.post(receiver.url, params=query, data=body) as response,
    ):
        assert (
            push_module.check_reply(CREDENTIALS, OWNER, response.status, await response.read()) == "success"
        )
    assert receiver.plaintexts == [event.plaintext()]


async def test_the_command_runs_acts_and_ends_at_sigterm(tmp_path: Path) -> None:
    environment = {**os.environ, "LOG_FORMAT": "json", "SIMULATOR_PORT": "0"}
    command = [sys.executable, "-c", "from bridge.cli import main; main()", "simulator"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            listening = json.loads(await process.stderr.readline())
            assert listening["event"] == "simulator.listening"
            act = await asyncio.create_subprocess_exec(
                *command, "act", "hire", "name=王伟", "follow_up=false", "--url", listening["url"],
                env=environment, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            output, _ = await act.communicate()
            assert act.returncode == 0
            assert json.loads(output)["EventType"] == "user_add_org"
            refused = await asyncio.create_subprocess_exec(
                *command, "act", "fly", "--url", listening["url"],
                env=environment, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            _, words = await refused.communicate()
            assert refused.returncode == 1
            assert b"no such action" in words
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib's way is taken for blocking
