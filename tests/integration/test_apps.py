"""Several apps at one ingress: a path, credentials and a source for each; the file is read while it runs."""

import asyncio
import json
from contextlib import AsyncExitStack

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from dingbridge.dingtalk.crypto import Credentials
from dingbridge.dingtalk.errors import TokenInvalid
from dingbridge.events import decode
from dingbridge.ingress.credentials import CredentialsWatcher
from dingbridge.ingress.metrics import HttpMetrics
from dingbridge.kafka.topic_policy import event_topic, unclassified_topic
from dingbridge.settings import SAMPLE_CREDENTIALS, ConsumerSettings, IngressSettings
from dingbridge.simulator.server import Simulator
from dingbridge.worker.api.clients import open_clients
from dingbridge.worker.outcomes import Reject
from tests.integration.callback_support import Listener, push
from tests.integration.simulator_support import settings
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import eventually
from tests.support.pusher import CREDENTIALS

HR = Credentials("tokenOfHr", "h" * 43, ("dinghr",))
HR_NEW = Credentials("newTokenOfHr", "i" * 43, ("dinghr",))
SUITE = Credentials("tokenOfSuite", "u" * 43, ("suitekey01",))
SALES = Credentials("tokenOfSales", "s" * 43, ("dingsales",))


SUITE_EVENTS = ("suite_ticket", "tmp_auth_code", "change_auth", "suite_relieve")


def table(name, credentials, *, head="[apps.{}]", more="", corp="c"):
    owners = "" if "previous" in head or "next" in head else f"owner_keys = {list(credentials.owner_keys)}\n"
    owners += f'corp_id = "{corp}"\n' if owners and "suite" not in more else ""
    return (
        head.format(name)
        + f'\ntoken = "{credentials.token}"\naes_key = "{credentials.aes_key}"\n{owners}{more}\n'
    )


def event(number, corp):
    body = {
        "EventType": "user_add_org",
        "TimeStamp": str(1_731_000_000_000 + number),
        "UserId": [f"u{number}"],
    }
    return json.dumps({**body, "CorpId": corp}).encode()


async def test_each_app_has_its_path_and_its_source_and_the_file_is_read_while_it_runs(
    processes, kafka_env, kafka_settings, tmp_path
):
    file = tmp_path / "apps.toml"
    apps = table("hr", HR, corp="dingcorp1") + table("suite", SUITE, more="suite = true")
    file.write_text(apps)
    own = {"DINGTALK_APPS_FILE": str(file), "DINGTALK_CORP_ID": "dingcorp1"}
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, own)
    await asyncio.to_thread(ingress.start)

    async def accepted():
        async with http.get(f"http://127.0.0.1:{ingress.admin_port}/apps") as answer:
            return await answer.json()

    async with aiohttp.ClientSession() as http:
        assert await push(http, ingress.url, event(1, "dingcorp1"), CREDENTIALS) == "success"
        assert await push(http, f"{ingress.url}/default", event(2, "dingcorp1"), CREDENTIALS) == "success"
        assert await push(http, f"{ingress.url}/hr", event(3, ""), HR) == "success"
        assert await push(http, f"{ingress.url}/hr", event(8, "dingcorp2"), HR) == "success"
        # the same event of the same company, at another app, is another one
        assert await push(http, f"{ingress.url}/hr", event(1, "dingcorp1"), HR) == "success"
        assert await push(http, f"{ingress.url}/hr", event(4, "dingcorp2"), CREDENTIALS) == 403
        assert await push(http, f"{ingress.url}/sales", event(5, "dingcorp3"), SALES) == 404
        for name in (*SUITE_EVENTS, "check_update_suite_url"):
            body = {"EventType": name, "SuiteKey": "suitekey01", "AuthCorpId": "dingcorp9", "TimeStamp": 1}
            plaintext = json.dumps({**body, "Random": "r"}).encode()
            assert await push(http, f"{ingress.url}/suite", plaintext, SUITE) == "success"

        file.write_text(apps + table("sales", SALES, corp="dingcorp3"))
        await eventually(lambda: _has(accepted, "sales"), 30, "it has taken the new app")
        assert await push(http, f"{ingress.url}/sales", event(6, "dingcorp3"), SALES) == "success"

        await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the relay has read the file, too")
        file.write_text("[apps.hr")

        async def rejected():
            return bool((await accepted())["rejected"])

        await eventually(rejected, 30, "the broken file is told of")
        assert ingress.metric("dingbridge_apps_file_rejected") > 0
        assert await push(http, f"{ingress.url}/sales", event(7, "dingcorp3"), SALES) == "success"
        assert HR.token not in ingress.process.log_text()

    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "all is in Kafka")
    topics = await read_all(kafka_settings)
    for name in SUITE_EVENTS:
        [record] = topics[event_topic(kafka_settings, name)]
        assert decode(record.value).source == "/dingtalk/dingcorp9/suite"
    records = topics[event_topic(kafka_settings, "user_add_org")]
    found = sorted((e.source, e.subject) for e in (decode(r.value) for r in records))
    assert found == [
        ("/dingtalk/dingcorp1/default", "u1"),
        ("/dingtalk/dingcorp1/default", "u2"),
        ("/dingtalk/dingcorp1/hr", "u1"),
        ("/dingtalk/dingcorp1/hr", "u3"),
        ("/dingtalk/dingcorp3/sales", "u6"),
        ("/dingtalk/dingcorp3/sales", "u7"),
    ]
    [another] = topics[unclassified_topic(kafka_settings)]
    assert decode(another.value).source == "/dingtalk/dingcorp1/hr", "it named dingcorp2"


async def _has(accepted, name):
    return bool((await accepted())["apps"].get(name))


@pytest.fixture
async def listener(tmp_path):
    async with Listener(tmp_path / "journal") as listener:
        yield listener


@pytest.fixture
def live(listener, tmp_path, monkeypatch):
    file = tmp_path / "apps.toml"
    monkeypatch.setenv("DINGTALK_APPS_FILE", str(file))
    monkeypatch.setattr("dingbridge.ingress.credentials.EVERY_S", 0.02)

    def start(text):
        file.write_text(text)
        return file, CredentialsWatcher(
            IngressSettings.load(), listener.public.serve, HttpMetrics(CollectorRegistry())
        )

    return start


async def test_a_broken_file_changes_nothing_and_is_taken_when_it_is_mended(listener, live):
    file, apps = live(table("hr", HR))
    watching = asyncio.ensure_future(apps.watch())
    async with aiohttp.ClientSession() as http:
        url = f"{listener.url}/hr"
        for broken in ("", "[apps.hr", table("hr", HR_NEW).replace("i" * 43, "short")):
            file.write_text(broken)
            await eventually(lambda: _true(apps.as_json()["rejected"]), 30, "it is told of")
            assert await push(http, url, event(1, "c"), HR) == "success"
            assert await push(http, url, event(1, "c"), HR_NEW) == 403
            file.write_text(table("hr", HR) + f"# {broken[:3]!r}\n")
            await eventually(lambda: _true(not apps.as_json()["rejected"]), 30, "it is taken")
        file.unlink()
        await eventually(lambda: _true(apps.as_json()["rejected"]), 30, "that it is gone is told of")
        assert await push(http, url, event(1, "c"), HR) == "success"
        file.write_text(table("hr", HR_NEW))
        await eventually(lambda: _true(not apps.as_json()["rejected"]), 30, "the new one is taken")
        assert await push(http, url, event(1, "c"), HR) == 403
        assert await push(http, url, event(1, "c"), HR_NEW) == "success"
        # without an app of the environment, nobody is at the bare path
        assert await push(http, listener.url, event(1, "c"), HR_NEW) == 404
    watching.cancel()


async def test_a_secret_in_a_file_of_its_own_is_read_again_too(listener, live, tmp_path):
    (tmp_path / "hr.token").write_text(HR.token)
    text = table("hr", HR).replace(f'token = "{HR.token}"', 'token_file = "hr.token"')
    _, apps = live(text)
    watching = asyncio.ensure_future(apps.watch())
    async with aiohttp.ClientSession() as http:
        assert await push(http, f"{listener.url}/hr", event(1, "c"), HR) == "success"
        (tmp_path / "hr.token").write_text("otherTokenOfHr")
        other = Credentials("otherTokenOfHr", HR.aes_key, HR.owner_keys)

        async def taken():
            return await push(http, f"{listener.url}/hr", event(2, "c"), other) == "success"

        await eventually(taken, 30, "the other token is accepted")
        assert await push(http, f"{listener.url}/hr", event(3, "c"), HR) == 403
    watching.cancel()


async def _true(value):
    return bool(value)


async def test_a_consumer_asks_at_the_app_that_the_event_came_from(tmp_path, monkeypatch):
    """The simulator knows one app, `hr`; of the others, one has other credentials and one has none."""
    async with Simulator(settings()) as simulator, AsyncExitStack() as stack:
        key, secret = (SAMPLE_CREDENTIALS[f"DINGTALK_APP_{name}"] for name in ("KEY", "SECRET"))
        file = tmp_path / "apps.toml"
        file.write_text(
            table("hr", HR, more=f'app_key = "{key}"\napp_secret = "{secret}"')
            + table("sales", SALES, more='app_key = "dingother"\napp_secret = "otherSecret"')
            + table("mute", HR_NEW)
            + table("isv", SUITE, more=f'app_key = "{key}"\napp_secret = "{secret}"\nsuite = true')
        )
        for name in SAMPLE_CREDENTIALS:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("DINGTALK_APPS_FILE", str(file))
        monkeypatch.setenv("DINGTALK_API_BASE", simulator.base_url)
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        monkeypatch.setenv("CONSUMER_APP", "hr")
        opened = await open_clients(ConsumerSettings.load(), stack)
        assert opened is not None
        client_of, _ = opened
        user = next(iter(simulator.platform.company.users))
        for app in (None, "hr"):  # where there is no event: CONSUMER_APP
            assert (await client_of(app, "c").user(user))["userid"] == user
        with pytest.raises(TokenInvalid):
            await client_of("sales", "c").user(user)
        for app in ("mute", "isv"):
            with pytest.raises(Reject, match=f"of the app {app}"):
                client_of(app, "c")
