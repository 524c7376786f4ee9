"""A third-party suite, whole: its ticket by the ingress into Kafka, and from there to a consumer's calls."""

from types import SimpleNamespace

import aiohttp
from structlog.testing import capture_logs

from dingbridge import Consumer
from dingbridge import retry as backoff
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.worker.api import suite_tickets as tickets
from tests.integration.simulator_support import AES_KEY, OWNER, TOKEN, Api, settings
from tests.integration.worker_support import consumer_settings, named, serving
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_topic
from tests.support.waiting import eventually

TICKET_CALLS = "/service/get_corp_token"


class Asking(Consumer):
    topics = ("user_add_org",)
    uses_database = False

    def __init__(self):
        self.seen = []

    async def prepare(self, event, ctx):
        return (await ctx.dingtalk.user(event.subject))["userid"]

    async def handle(self, event, tx, prepared):
        self.seen.append(prepared)


async def test_a_consumer_calls_with_the_kept_ticket_and_goes_on_when_a_new_one_ends_it(
    processes, kafka_env, kafka_settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(backoff, "UNAVAILABLE_FIRST_S", 0.05)
    monkeypatch.setattr(backoff, "UNAVAILABLE_MAX_S", 0.1)
    monkeypatch.setattr(tickets, "REMEMBERED_S", 3600.0)
    secret = SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]
    file = tmp_path / "apps.toml"
    file.write_text(
        f'[apps.suite]\ntoken = "{TOKEN}"\naes_key = "{AES_KEY}"\nowner_keys = ["{OWNER}"]\n'
        f'app_key = "{OWNER}"\napp_secret = "{secret}"\nsuite = true\n'
    )
    ingress = IngressUnderTest(
        processes, tmp_path, kafka_env, {"DINGTALK_APPS_FILE": str(file), "LOG_LEVEL": "DEBUG"}
    )
    ingress.start()
    async with Simulator(settings()) as simulator, aiohttp.ClientSession() as http:
        api = Api(simulator.base_url, http)
        await api.login()
        await api.post("/_sim/deliveries", {"deadline_ms": 60_000})  # a machine may be slow
        callback = SimpleNamespace(url=f"{ingress.url}/suite")
        assert (await api.register(callback, ["user_add_org", "suite_ticket"]))["errcode"] == 0

        async def ticket() -> str:
            assert (await api.post("/_sim/suite_ticket"))["pushes"]
            number = len(pushed) + 1
            topic = event_topic(kafka_settings, "suite_ticket")

            async def is_kept():
                return len(await read_topic(kafka_settings, topic)) == number

            await eventually(is_kept, 60)
            return simulator.suite.ticket

        pushed: list[str] = []
        consumer = named(Asking)()
        of_consumer = consumer_settings(
            kafka_env,
            f"sqlite:///{tmp_path / 'none.db'}",
            dingtalk_api_base=simulator.base_url,
            dingtalk_apps_file=file,
            consumer_app="suite",
            data_dir=tmp_path,
        )
        with capture_logs() as logs:
            async with serving(consumer, of_consumer) as service:
                await api.post("/_sim/act", {"action": "hire", "count": 1})
                await eventually(lambda: service.worker.state()[1]["unavailable"], 60)
                assert "no suite_ticket has come yet" in repr(logs)
                assert simulator.api.calls[TICKET_CALLS] == 0

                pushed.append(await ticket())
                await eventually(lambda: len(consumer.seen) == 1, 60)
                assert simulator.api.calls[TICKET_CALLS] == 1

                pushed.append(await ticket())
                simulator.tokens.expire()
                await api.post("/_sim/act", {"action": "hire", "count": 1})
                await eventually(lambda: len(consumer.seen) == 2, 60)
                # the old ticket, remembered, is refused; the new one is looked up
                assert simulator.api.calls[TICKET_CALLS] == 3
        assert set(consumer.seen) <= simulator.platform.company.users.keys()
        for one in pushed:
            assert one not in repr(logs)
            assert one not in ingress.process.log_text()
