"""A back-up of a consumer's database is restored on Kafka's same topics, on SQLite and PostgreSQL, also when
the restore is killed anywhere: each event has its effect once."""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from dev.servers import PostgresServer
from dev.servers.postgres_wheel import programs
from dingbridge import Consumer, Restored
from dingbridge.backup import databases, groups, making, postgres, restoring
from dingbridge.backup.databases import opened
from dingbridge.backup.groups import Target, target_of
from dingbridge.backup.making import back_up
from dingbridge.backup.manifest import NAME, BadBackup, Committed, Manifest
from dingbridge.backup.restoring import Refused, Restore
from dingbridge.consumers.outbound.requests.restored import still_to_read
from dingbridge.errors import BridgeError
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.files import new_file
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.client import connection
from dingbridge.kafka.group_lag import look
from dingbridge.kafka.group_offsets import set_offsets
from dingbridge.kafka.topic_policy import event_topic, inbox_topic
from dingbridge.kafka.topics import ensure_topics, existing_topics
from dingbridge.settings import ConsumerSettings, KafkaSettings
from dingbridge.settings.database_url import parse_database_url
from dingbridge.worker.registry import Installed
from dingbridge.worker.service import ConsumerService
from dingbridge.worker.store import restored
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
from tests.unit.worker.support import metadata


class Killed(Exception):
    """Stands for the end of the process."""


class Site:
    """One consumer, its database, the back-up, and the empty database that is to take its place."""

    def __init__(self, env: dict[str, str], folder: Path, urls: tuple[str, str]) -> None:
        self.env, self.urls, self.copy = env, urls, folder / "copy"
        self.consumer: type[Consumer] = named(EffectConsumer, control_topics=("resync",))
        self.said: list[str] = []

    async def handle(self, kafka: KafkaSettings, *ids: str, rows_then: int) -> None:
        """Publish events, and have them handled and committed."""
        async with serving(self.consumer(), consumer_settings(self.env, self.urls[0])):
            await publish(kafka, [event_record(id, "u") for id in ids])
            await eventually(lambda: has_rows(self.urls[0], rows_then))
            await eventually(lambda: has_committed(kafka, self.consumer.name, rows_then))

    async def back_up(self) -> list[str]:
        return await back_up(consumer_settings(self.env, self.urls[0]), self.copy, self.say)

    def prepared(self) -> Restore:
        values = {name.lower(): value for name, value in self.env.items()}
        settings = ConsumerSettings.load(**values, database_url=self.urls[1])
        return Restore(settings, self.copy)

    async def restore(self) -> None:
        restore = self.prepared()
        await restore.check()
        await restore.run(self.say)

    def say(self, name: str, words: str) -> None:
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
    for module in (databases, making, restoring):
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

        async def die(*_: object, **__: object) -> None:
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

    async with opened(site.urls[1]) as database:  # of a consumer that has not started since
        manifest = Manifest.read(site.copy)
        await restored.mark(database, ["another"], manifest.id, manifest.at_ms)
        await restored.set_back(database, "another", {})
    async with serving(site.consumer(), consumer_settings(site.env, site.urls[1])):
        await eventually(lambda: has_rows(site.urls[1], 5))
        await publish(kafka_settings, [event_record("c1", "u")])
        await eventually(lambda: has_rows(site.urls[1], 6))
    found = sorted(id for id, _ in await rows(site.urls[1]))
    assert found == ["a1", "a2", "b1", "b2", "b3", "c1"]
    site.said.clear()
    await site.restore()
    assert not any("is set back" in words for words in site.said), "it has started since"
    async with opened(site.urls[1]) as database:
        await restored.notify(database, "another", site.consumer().restored)
    with pytest.raises(Refused, match=r"move it away|is not empty"):
        await site.restore()


async def test_where_a_group_goes_on_is_told_from_what_its_topics_hold(kafka_settings: KafkaSettings) -> None:
    topic, now_ms = event_topic(kafka_settings, TYPE), round(time.time() * 1000)
    await publish(kafka_settings, [event_record(id, "u") for id in ("a1", "a2", "a3")])
    place = TopicPartition(topic, (await read_topic(kafka_settings, topic))[0].partition)
    then, day_ms = [Committed(topic=topic, partition=place.partition, offset=2, end=2)], 86_400_000

    async def target(until_ms: int | None) -> Target:
        return await target_of(kafka_settings, "nobody", then, (), until_ms)

    same = await target(now_ms)
    assert (same.offsets, same.lost) == ({place: 2}, ())
    assert sum(same.ends[topic].values()) == 3
    assert len(same.ends[topic]) > 1, "also of a partition in which nothing is committed"
    for until_ms, words in ((now_ms - day_ms, "was created again"), (None, "another Kafka")):
        other = await target(until_ms)
        assert other.offsets == {place: 0}
        assert words in other.lost[0]
    unread = await target_of(kafka_settings, "nobody", (), [topic], now_ms)
    assert (unread.offsets, unread.ends) == ({}, same.ends)


async def test_what_the_group_of_another_installation_has_committed_stays(
    kafka_settings: KafkaSettings,
) -> None:
    """Groups are named after consumers alone: another installation on the same Kafka has the same ones."""
    other = kafka_settings.model_copy(update={"topic_prefix": f"other-{kafka_settings.topic_prefix}"})
    group = f"shared-{secrets.token_hex(4)}"
    places = [TopicPartition(event_topic(each, TYPE), 0) for each in (kafka_settings, other)]
    for each, place in zip((kafka_settings, other), places, strict=True):
        await ensure_topics(each, [place.topic])
        await set_offsets(each, group, {place: 0})
    assert [*(await groups.committed(kafka_settings, [group]))[group]] == [
        Committed(topic=places[0].topic, partition=0, offset=0, end=0)
    ]
    assert (await target_of(kafka_settings, group, (), (), None)).offsets == {places[0]: 0}
    assert (await look(kafka_settings, {group: []}))[group].topics.keys() == {places[0].topic}


async def test_the_end_of_a_transaction_is_no_record_that_outbound_has_to_read(
    kafka_settings: KafkaSettings,
) -> None:
    topic = event_topic(kafka_settings, TYPE)
    await ensure_topics(kafka_settings, [topic])
    sender = AIOKafkaProducer(**connection(kafka_settings), transactional_id=topic)
    await sender.start()
    async with sender.transaction():
        await sender.send_and_wait(topic, b"{}", partition=0)
    await sender.stop()
    told = Restored(0, {topic: {"0": 2}, "gone": {"0": 7}})
    assert await still_to_read(kafka_settings, "t-reader", told) == 2
    await set_offsets(kafka_settings, "t-reader", {TopicPartition(topic, 0): 1})
    assert await still_to_read(kafka_settings, "t-reader", told) == 0


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
        inbox = inbox_topic(kafka_settings, site.consumer.name)
        await admin.delete_topics([inbox])

    async def gone() -> bool:
        return inbox not in await existing_topics(kafka_settings)

    await eventually(gone)
    await site.restore()
    assert any("2 record(s) since the back-up are deleted" in words for words in site.said)
    [request] = await read_topic(kafka_settings, inbox)
    assert RESYNC_REQUESTED.encode() in (request.value or b"")


async def test_a_back_up_that_is_not_whole_is_refused(site: Site, kafka_settings: KafkaSettings) -> None:
    await site.handle(kafka_settings, "a1", rows_then=1)
    await site.back_up()
    with pytest.raises(BridgeError, match="is not empty"):
        await site.back_up()
    site.env["TOPIC_PREFIX"], prefix = "other.", site.env["TOPIC_PREFIX"]
    with pytest.raises(Refused, match="TOPIC_PREFIX and CONTROL_PREFIX were"):
        await site.restore()
    site.env["TOPIC_PREFIX"] = prefix
    restore = site.prepared()
    await restore.check()
    async with opened(site.urls[1], create=True) as database:  # a supervisor starts the consumer meanwhile
        await database.create_tables(metadata)
    with pytest.raises(BridgeError, match="move it away"):
        await restore.run(site.say)
    [file] = await asyncio.to_thread(lambda: list((site.copy / databases.FOLDER).iterdir()))
    wal = file.with_name(file.name + "-wal")
    await asyncio.to_thread(wal.touch)
    with pytest.raises(BadBackup, match="-wal is not of the back-up"):
        await site.restore()
    await asyncio.to_thread(wal.unlink)
    whole = await asyncio.to_thread(file.read_bytes)
    await asyncio.to_thread(file.write_bytes, whole[:-1])
    with pytest.raises(BadBackup, match="is not what was written"):
        await site.restore()
    await asyncio.to_thread((site.copy / NAME).unlink)
    with pytest.raises(BadBackup, match="was not finished"):
        await site.restore()


async def on_the_server(words: str, url: str) -> None:
    """Run the command that ``words`` end with, as a shell on the server does that has the password."""
    command = words.partition("as on the server: ")[2]
    address = parse_database_url(url)
    server = {"PGHOST": address.host or "", "PGPORT": str(address.port), "PGPASSWORD": address.password or ""}
    process = await asyncio.create_subprocess_shell(command, env={**os.environ, **server})
    assert await process.wait() == 0, command


@pytest.mark.parametrize("site", ["postgres"], indirect=True)
async def test_without_pg_dump_it_says_what_to_run_and_takes_what_is_put_there(
    site: Site, kafka_settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.handle(kafka_settings, "a1", rows_then=1)
    older = "#!/bin/sh\necho 'pg_dump: error: aborting because of server version mismatch' >&2\nexit 1\n"
    await asyncio.to_thread(new_file, tmp_path / "bin" / "pg_dump", older.encode(), mode=0o700)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path / "bin"))
        [words] = await site.back_up()
        assert "dingbridge:" not in words, "no password"
    with pytest.raises(BadBackup, match="by hand"):
        await site.restore()
    [copy] = restoring.Manifest.model_validate_json((site.copy / NAME).read_bytes()).databases
    await on_the_server(words, site.urls[0])
    assert await asyncio.to_thread((site.copy / copy.file).is_file)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        with pytest.raises(postgres.NotInstalled) as missing:
            await site.restore()
    await on_the_server(str(missing.value), site.urls[1])
    await site.restore()
    assert await rows(site.urls[1]) == [("a1", "u")]
