"""A back-up of a consumer's database is restored on Kafka's same topics, on SQLite and PostgreSQL, also when
the restore is killed anywhere: each event has its effect once."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from dev.servers import PostgresServer
from dev.servers.postgres_wheel import programs
from dingbridge import Consumer
from dingbridge.backup import databases, making, postgres, restoring
from dingbridge.backup.making import back_up
from dingbridge.backup.manifest import NAME, BadBackup
from dingbridge.backup.restoring import Refused, Restore, RestoreSettings
from dingbridge.errors import BridgeError
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.topic_policy import event_topic, inbox_topic
from dingbridge.settings import KafkaSettings
from dingbridge.worker.registry import Installed
from dingbridge.worker.service import ConsumerService
from dingbridge.worker.store.restored import NotSetBack
from tests.integration.worker_support import (
    TYPE,
    EffectConsumer,
    consumer_settings,
    event_record,
    has_committed,
    has_rows,
    named,
    publish,
    rows,
    serving,
)
from tests.support.kafka_reader import read_topic
from tests.support.waiting import eventually


class Killed(Exception):
    """Stands for the end of the process."""


class Site:
    """One consumer, its database, the back-up, and the empty database that is to take its place."""

    def __init__(self, env: dict[str, str], folder: Path, urls: tuple[str, str]) -> None:
        self.env, self.urls, self.copy = env, urls, folder / "copy"
        self.consumer: type[Consumer] = named(EffectConsumer)
        self.said: list[str] = []

    async def handle(self, kafka: KafkaSettings, *ids: str, rows_then: int) -> None:
        """Publish events, and have them handled and committed."""
        async with serving(self.consumer(), consumer_settings(self.env, self.urls[0])):
            await publish(kafka, [event_record(id, "u") for id in ids])
            await eventually(lambda: has_rows(self.urls[0], rows_then))
            await eventually(lambda: has_committed(kafka, self.consumer.name, rows_then))

    async def back_up(self) -> list[str]:
        return await back_up(consumer_settings(self.env, self.urls[0]), self.copy, self._say)

    async def restore(self) -> None:
        values = {name.lower(): value for name, value in self.env.items()}
        resync = {"resync_consumers": [self.consumer.name]}
        settings = RestoreSettings.load(**values, **resync, database_url=self.urls[1])
        restore = Restore(settings, self.copy)
        await restore.check()
        await restore.run(self._say)

    def _say(self, name: str, words: str) -> None:
        self.said.append(f"{name}: {words}")


@pytest.fixture
def site(
    request: pytest.FixtureRequest, kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    urls, server, name = (f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"), None, ""
    if getattr(request, "param", "sqlite") == "postgres":
        monkeypatch.setenv("PATH", str(programs()))
        name = f"dingbridge_test_{secrets.token_hex(4)}"
        server = request.getfixturevalue("postgres")
        assert isinstance(server, PostgresServer)
        urls = (request.getfixturevalue("postgres_url"), server.create_database(name))
    site = Site(kafka_env, tmp_path, urls)
    for module in (databases, making):
        found = lambda: [Installed(site.consumer.name, "theirs", site.consumer)]  # noqa: E731
        monkeypatch.setattr(module, "installed_consumers", found)
    yield site
    if server is not None:
        server.drop_database(name)


@pytest.mark.parametrize("site", ["sqlite", "postgres"], indirect=True)
async def test_each_event_has_its_effect_once_wherever_the_restore_is_killed(
    site: Site, kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.handle(kafka_settings, "a1", "a2", rows_then=2)
    assert await site.back_up() == []
    await site.handle(kafka_settings, "b1", "b2", "b3", rows_then=5)

    async def refused() -> None:
        service = ConsumerService(site.consumer(), consumer_settings(site.env, site.urls[1]))
        await asyncio.wait_for(service.run(), 60)

    places: list[tuple[Any, str]] = [
        (databases.postgres, "load"), (databases.restored, "mark"), (restoring, "set_offsets"),
        (restoring.restored, "set_back"),
    ]  # fmt: skip
    for module, name in places:
        if name == "load" and site.urls[0].startswith("sqlite"):
            continue

        async def die(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(module, name, die)
            with pytest.raises(Killed):
                await site.restore()
        if name != "mark":
            with pytest.raises(NotSetBack, match="dingbridge restore"):
                await refused()
    await site.restore()
    assert any("is set back: 3 record(s)" in words for words in site.said)
    await site.restore()  # once too often: nothing is done

    async with serving(site.consumer(), consumer_settings(site.env, site.urls[1])):
        await eventually(lambda: has_rows(site.urls[1], 5))
        await publish(kafka_settings, [event_record("c1", "u")])
        await eventually(lambda: has_rows(site.urls[1], 6))
    found = sorted(id for id, _ in await rows(site.urls[1]))
    assert found == ["a1", "a2", "b1", "b2", "b3", "c1"]
    with pytest.raises(Refused, match=r"move it away|is not empty"):
        await site.restore()


async def test_what_kafka_has_deleted_since_is_said_and_the_consumer_is_asked_to_compare(
    site: Site, kafka_settings: KafkaSettings
) -> None:
    await site.handle(kafka_settings, "a1", rows_then=1)
    await site.back_up()
    await site.handle(kafka_settings, "b1", "b2", rows_then=3)
    topic = event_topic(kafka_settings, TYPE)
    async with admin_client(kafka_settings) as admin:
        place = TopicPartition(topic, (await read_topic(kafka_settings, topic))[0].partition)
        await admin.delete_records({place: RecordsToDelete(-1)}, 10_000)
    await site.restore()
    assert any("2 record(s) since the back-up are deleted" in words for words in site.said)
    [request] = await read_topic(kafka_settings, inbox_topic(kafka_settings, site.consumer.name))
    assert RESYNC_REQUESTED.encode() in (request.value or b"")


async def test_a_back_up_that_is_not_whole_is_refused(site: Site, kafka_settings: KafkaSettings) -> None:
    await site.handle(kafka_settings, "a1", rows_then=1)
    await site.back_up()
    with pytest.raises(BridgeError, match="is not empty"):
        await site.back_up()
    [file] = await asyncio.to_thread(lambda: list((site.copy / databases.FOLDER).iterdir()))
    whole = await asyncio.to_thread(file.read_bytes)
    await asyncio.to_thread(file.write_bytes, whole[:-1])
    with pytest.raises(BadBackup, match="is not what was written"):
        await site.restore()
    await asyncio.to_thread((site.copy / NAME).unlink)
    with pytest.raises(BadBackup, match="was not finished"):
        await site.restore()


@pytest.mark.parametrize("site", ["postgres"], indirect=True)
async def test_without_pg_dump_it_says_what_to_run_and_takes_what_is_put_there(
    site: Site, kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.handle(kafka_settings, "a1", rows_then=1)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        [words] = await site.back_up()
        assert "pg_dump --format=custom" in words
        assert "dingbridge:" not in words, "no password"
    with pytest.raises(BadBackup, match="by hand"):
        await site.restore()
    [copy] = restoring.Manifest.model_validate_json((site.copy / NAME).read_bytes()).databases
    await postgres.dump(site.urls[0], site.copy / copy.file)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        with pytest.raises(postgres.NotInstalled, match="pg_restore"):
            await site.restore()
    await postgres.load(site.urls[1], site.copy / copy.file)
    await site.restore()
    assert await rows(site.urls[1]) == [("a1", "u")]
