"""Which suite ticket counts, when the topic is read, and what is said without one."""

from collections.abc import AsyncIterator, Collection
from types import SimpleNamespace
from typing import Any, Self

import orjson
import pytest

from dingbridge import Reject
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import TicketMissing, Unavailable
from dingbridge.errors import KafkaUnavailable, SettingsError
from dingbridge.events import Received, to_records
from dingbridge.settings import ConsumerSettings
from dingbridge.settings.apps import App
from dingbridge.worker.api import suite_tickets as tickets
from dingbridge.worker.api.clients import SuiteClients
from dingbridge.worker.api.suite_tickets import SuiteTickets
from dingbridge.worker.executor import classify


class Topic:
    """What the topic holds, in its order; stands for ``TopicReader`` too."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.exists, self.reads = True, 0
        self.down = False

    def add(self, ticket: str, at_ms: int, app: str = "suite") -> None:
        body = {"EventType": "suite_ticket", "SuiteKey": "k", "SuiteTicket": ticket, "TimeStamp": at_ms}
        received = Received(
            seq=1, journal="j", received_ms=at_ms + 5, app=app, via="http", body=orjson.dumps(body)
        )
        self.values += [record.value for record in to_records(received)]

    async def existing(self, settings: ConsumerSettings, wanted: Collection[str]) -> dict[str, int]:
        self.reads += 1
        if self.down:
            raise KafkaUnavailable("Kafka does not answer")
        return {"dingtalk.suite_ticket": 1} if self.exists else {}

    def __call__(self, settings: ConsumerSettings) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def spans(self, topics: dict[str, int]) -> dict[str, int]:
        return topics

    async def read(self, spans: Any) -> AsyncIterator[Any]:
        for value in self.values:
            yield SimpleNamespace(value=value)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    held = Topic()
    monkeypatch.setattr(tickets, "existing_topics", held.existing)
    monkeypatch.setattr(tickets, "TopicReader", held)
    return held


async def test_the_latest_by_its_events_time_wins_and_other_apps_do_not_count(topic: Topic) -> None:
    topic.add("first", 1_731_000_000_000)
    topic.add("third", 1_731_000_090_000)
    topic.add("second", 1_731_000_050_000)  # its push was repeated
    topic.add("another", 1_731_000_099_000, app="other")
    topic.values.append(b"no event")
    kept = SuiteTickets(ConsumerSettings.load(), "suite")
    assert await kept.latest() == "third"


async def test_it_is_remembered_for_a_minute_unless_refused(topic: Topic) -> None:
    now = 0.0
    kept = SuiteTickets(ConsumerSettings.load(), "suite", clock=lambda: now)
    topic.add("one", 1)
    assert [await kept.latest() for _ in range(3)] == ["one"] * 3
    topic.add("two", 2)
    assert (await kept.latest(), topic.reads) == ("one", 1)
    assert (await kept.latest(refused="one"), topic.reads) == ("two", 2)
    assert (await kept.latest(refused="one"), topic.reads) == ("two", 2)  # a second company's refusal
    topic.add("three", 3)
    now = 61.0
    assert await kept.latest() == "three"


async def test_without_one_the_world_is_down_and_the_words_say_why_and_it_is_looked_for_again(
    topic: Topic,
) -> None:
    kept = SuiteTickets(ConsumerSettings.load(), "suite")
    for topic.exists in (False, True):
        with pytest.raises(TicketMissing) as caught:
            await kept.latest()
        for words in ("no suite_ticket has come yet for the app suite", "every 5 h", "dingtalk.suite_ticket"):
            assert words in str(caught.value)
        assert classify(caught.value).kind == "unavailable"
    topic.down = True
    with pytest.raises(Unavailable, match="Kafka does not answer"):
        await kept.latest()
    topic.down = False
    topic.add("come", 1)
    assert await kept.latest() == "come"


async def test_a_suite_is_asked_in_the_events_companys_name_else_in_that_of_its_corp_id() -> None:
    settings = ConsumerSettings.load()
    async with DingTalkClient(app_key="k", app_secret="s", base="http://127.0.0.1:1") as client:
        suite = SuiteClients(client, App("suite", (), (), "k", "s", suite=True), settings)
        one, two = suite("dingcorp1"), suite("dingcorp2")
        assert one is suite("dingcorp1")
        assert one is not two
        with pytest.raises(SettingsError, match="has no corp_id"):
            suite(None)
        with pytest.raises(Reject, match="names no company"):
            suite("-")
        home = SuiteClients(client, App("suite", (), (), "k", "s", "dingcorp3", suite=True), settings)
        assert home(None) is home("-") is home("dingcorp3")
