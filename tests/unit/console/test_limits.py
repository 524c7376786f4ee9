"""Whatever one user starts, and however silent Kafka is, others are answered."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from dingbridge.console.access.limits import SEARCHES, SearchesOfEach
from dingbridge.console.access.middleware import USER
from dingbridge.console.access.users import Role, User
from dingbridge.console.sources import kafka
from dingbridge.console.sources.kafka import MOST_LATE, AskKafka
from dingbridge.errors import KafkaUnavailable
from dingbridge.settings import KafkaSettings
from tests.support.waiting import eventually
from tests.unit.console.support import browser, settings_in


def of(name: str) -> web.Request:
    request = make_mocked_request("GET", "/find?q=x")
    request[USER] = User(name, Role.VIEWER)
    return request


async def test_sixty_searches_of_one_user_hold_up_nobody_else() -> None:
    searches, under_way, ended = SearchesOfEach(wait_s=0.01), list[str](), asyncio.Event()

    async def search(name: str) -> None:
        async with searches.turn(of(name)):
            under_way.append(name)
            await ended.wait()

    flood = [asyncio.create_task(search("anna")) for _ in range(60)]
    await asyncio.gather(*flood[SEARCHES:], return_exceptions=True)
    other = asyncio.create_task(search("bob"))
    await asyncio.sleep(0)
    assert under_way == ["anna"] * SEARCHES + ["bob"]
    refused = [task.exception() for task in flood[SEARCHES:]]
    assert {type(error) for error in refused} == {web.HTTPTooManyRequests}
    ended.set()
    await asyncio.gather(other, *flood[:SEARCHES])
    async with searches.turn(of("anna")):
        pass


async def test_twenty_readings_of_dead_letters_hold_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, ended = Counter[str](), asyncio.Event()

    async def at_length(self: AskKafka, reading: object) -> list[object]:
        under_way["now"] += 1
        await ended.wait()
        return []

    monkeypatch.setattr(AskKafka, "at_length", at_length)
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.VIEWER)
        flood = [asyncio.create_task(who.get("/dead-letters")) for _ in range(20)]
        await eventually(lambda: under_way["now"] >= SEARCHES)
        assert (await who.get("/audit")).status == 200
        assert under_way["now"] == SEARCHES
        ended.set()
        assert {answer.status for answer in await asyncio.gather(*flood)} == {200}


class Broker:
    """Answers, or is silent until it goes on."""

    def __init__(self) -> None:
        self.thawed, self.asked = asyncio.Event(), 0
        self.thawed.set()

    async def __call__(self) -> str:
        self.asked += 1
        await self.thawed.wait()
        return "answer"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "SILENT_WITHIN_S", 0.01)
    monkeypatch.setattr(kafka, "LOOK_S", 0.01)


async def silent(ask: AskKafka, broker: Callable[..., object]) -> None:
    with pytest.raises(KafkaUnavailable, match="does not answer"):
        await ask(broker, 0.01)  # type: ignore[arg-type]


@pytest.mark.usefixtures("quick")
async def test_a_silent_kafka_is_known_since_its_last_answer_and_a_late_one_ends_that() -> None:
    broker, ask = Broker(), AskKafka(KafkaSettings())
    before = time.time()
    assert await ask(broker) == "answer"
    assert ask.silent_since is None
    answered = time.time()
    broker.thawed.clear()
    for _ in range(MOST_LATE + 5):
        await silent(ask, broker)
    assert before <= (ask.silent_since or 0) <= answered
    assert broker.asked == 1 + MOST_LATE, "nobody piles up questions"
    broker.thawed.set()
    await eventually(lambda: ask.silent_since is None)
    await ask.stop()


@pytest.mark.usefixtures("quick")
async def test_what_is_read_at_length_is_given_up_when_kafka_falls_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, ask, reading = Broker(), AskKafka(KafkaSettings()), Broker()
    monkeypatch.setattr(kafka, "existing_topics", lambda _: broker())
    reading.thawed.clear()
    page = asyncio.create_task(ask.at_length(reading))
    await eventually(lambda: broker.asked >= 3)
    assert not page.done(), "as long as Kafka answers it is waited for"
    broker.thawed.clear()
    with pytest.raises(KafkaUnavailable):
        await page
    await ask.stop()


async def test_a_cancellation_of_aiokafka_s_own_ends_nobody_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    ask, broker = AskKafka(KafkaSettings()), Broker()
    monkeypatch.setattr(kafka, "existing_topics", lambda _: broker())

    async def cancelled() -> None:
        raise asyncio.CancelledError

    for asking in (ask(cancelled), ask.at_length(cancelled)):
        with pytest.raises(KafkaUnavailable):
            await asking
    await ask.stop()


async def test_who_is_asked_all_the_time_knows_of_a_silence_and_of_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered_at = time.time()
    ask = AskKafka(KafkaSettings(), feed_answered_at=lambda: answered_at)
    assert ask.silent_since is None
    answered_at -= kafka.QUIET_S + 1
    assert ask.silent_since == answered_at
    broker = Broker()
    broker.thawed.clear()
    await silent(ask, broker)
    assert ask.silent_since is not None
    answered_at = time.time() + 1
    assert ask.silent_since is None
    await ask.stop()
