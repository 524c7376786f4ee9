"""Where a group begins to read the topic of resync requests: at its end when it is new, else where it was."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dingbridge import Consumer, Event, Transaction, on
from dingbridge.events.control import RESYNC_REQUESTED, resync_requested
from dingbridge.kafka.topic_policy import control_topic, event_topic, inbox_topic
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.service import ConsumerService
from tests.lives.broker import MemoryBroker
from tests.lives.process import kafka_in_memory
from tests.support.waiting import eventually
from tests.unit.worker.support import record

EVENT_TYPE = "user_modify_org"


class Copying(Consumer):
    """Keeps a copy of the company, so it wants to know when events may be lost."""

    name = "copying"
    seen: ClassVar[list[str]] = []

    @on(EVENT_TYPE)
    async def changed(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.seen.append(event.subject or "")

    @on(RESYNC_REQUESTED)
    async def compare(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.seen.append(event.id)


class OfWhatIsNew(Copying):
    name = "of-what-is-new"
    auto_offset_reset = "latest"


class World:
    """The broker, and the consumer whose start is looked at."""

    def __init__(self, consumer: type[Copying], url: str) -> None:
        self.broker, self._consumer = MemoryBroker(), consumer
        self._settings = ConsumerSettings.load(database_url=url, admin_port=None)
        consumer.seen = []

    def request(self, id: str, topic: str = "") -> None:
        found = resync_requested(
            id=id, app="default", corp_id="dingcorp1", now_ms=2, since_ms=1, part="all", reason="lost"
        )
        self.broker.append(topic or control_topic(self._settings, "resync"), *found)

    def to_inbox(self, id: str) -> None:
        self.request(id, inbox_topic(self._settings, self._consumer.name))

    def event(self, user: str) -> None:
        found = record(user, user)
        self.broker.append(event_topic(self._settings, EVENT_TYPE), found.key, found.value, found.headers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A process of the consumer, which commits all that it has handled at its end."""
        with kafka_in_memory(self.broker):
            service = ConsumerService(self._consumer(), self._settings)
            running = asyncio.create_task(service.run())
            try:
                await eventually(lambda: service.worker.state()[0], what="it has joined")
                yield
            finally:
                service.stop()
                await running

    async def handled(self, *seen: str) -> None:
        await eventually(lambda: sorted(self._consumer.seen) == sorted(seen), what=f"{seen} are handled")


@pytest.fixture(params=[Copying, OfWhatIsNew])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, f"sqlite:///{tmp_path}/t.db")


async def test_a_new_group_is_not_asked_for_what_was_lost_before_it_began(world: World) -> None:
    """Wherever it begins to read events; its inbox is its own, so that is read from the beginning."""
    world.request("from before")
    world.event("u1")
    world.to_inbox("by name")
    old = ["u1"] if world._consumer is Copying else []
    async with world.running():
        await world.handled("by name", *old)
        world.request("now")
        await world.handled("by name", "now", *old)


async def test_a_group_that_has_read_before_goes_on_and_misses_no_request(world: World) -> None:
    async with world.running():
        world.request("r1")
        await world.handled("r1")
    world.request("while it was away")
    async with world.running():
        await world.handled("r1", "while it was away")


async def test_a_first_start_that_died_before_it_read_is_not_begun_anew(world: World) -> None:
    async with world.running():
        pass
    world.request("while it was away")
    async with world.running():
        await world.handled("while it was away")


async def test_a_group_from_before_there_was_such_a_topic_reads_all_of_it(world: World) -> None:
    """An ingress of a newer version may be there first; what it asks for concerns this group."""
    world.event("u1")
    async with world.running():
        world.event("u2")
        await eventually(lambda: "u2" in world._consumer.seen)
    topic = control_topic(world._settings, "resync")
    for group, place in [*world.broker.committed]:
        if place.topic == topic:
            del world.broker.committed[group, place]
    world.request("r1")
    async with world.running():
        await eventually(lambda: "r1" in world._consumer.seen, what="it is asked")
