"""What a consumer's process does beside its events."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from structlog.testing import capture_logs

from dingbridge import retry as backoff
from dingbridge.errors import KafkaUnavailable, SettingsError
from dingbridge.events.event import decode
from dingbridge.kafka.writer import RecordWriter
from dingbridge.settings import ConsumerSettings
from dingbridge.tasks import TaskEnded
from dingbridge.worker import service
from dingbridge.worker.dead_letters import LARGEST_BYTES
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.service import ConsumerService
from dingbridge.worker.store.errors import DatabaseDown, TransactionRace
from dingbridge.worker.store.offsets import consumers
from tests.unit.worker.harness import until
from tests.unit.worker.support import Recording, kafka_record, record


def serving(tmp_path: Path, consumer: type[Recording] = Recording) -> ConsumerService:
    settings = ConsumerSettings.load(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/t.db")
    return ConsumerService(consumer(), settings)


async def test_what_came_before_the_consumer_began_is_not_late(tmp_path: Path) -> None:
    """It began when it was first started, also after a restart in the middle of what is old."""
    event, now, hour = decode(record().value), datetime.now(UTC), timedelta(hours=1)

    async def late(*received: datetime) -> float:
        one = serving(tmp_path)
        assert one.database is not None
        await one._create_tables(one.database)
        await one.database.close()
        for at in received:
            one._metrics.handled(replace(event, received_time=at), Delivery())
        labels = {"consumer": "recording", "family": "contact"}
        return one.registry.get_sample_value("dingbridge_consumer_freshness_seconds_count", labels) or 0

    assert await late(now - 24 * hour, now + hour) == 1
    database = serving(tmp_path).database
    assert database is not None
    async with database.transaction() as tx:
        await tx.execute(consumers.update().values(since=now - 3 * hour))
    await database.close()
    assert await late(now - 4 * hour, now - 2.5 * hour) == 1


async def _fails() -> None:
    raise KeyError("张三")


async def _ends() -> None: ...


async def _is_cancelled_from_within() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("ending", [_fails, _ends, _is_cancelled_from_within])
async def test_a_task_beside_the_events_that_ends_ends_the_process_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    one = serving(tmp_path)
    monkeypatch.setattr(service, "prune_regularly", lambda *_: ending())
    monkeypatch.setattr(one.worker, "run", asyncio.Event().wait)
    with capture_logs() as logs, pytest.raises(TaskEnded, match="prunes the inbox table has ended") as raised:
        async with asyncio.timeout(60):
            await one.run()
    assert "张三" not in str(raised.value) + str(logs)


@pytest.mark.parametrize("stand_in", [object(), None])
async def test_a_stand_in_for_dingtalk_stays_though_there_are_credentials(
    tmp_path: Path, stand_in: Any
) -> None:
    """Else such a test would call the real DingTalk where the environment has an app's credentials."""

    class Asking(Recording):
        asked: Any = None

        async def start(self) -> None:
            self.asked = self.dingtalk
            one.stop()

    credentials = {"dingtalk_app_key": "key", "dingtalk_app_secret": "secret", "dingtalk_corp_id": "ding1"}
    settings = ConsumerSettings.load(
        data_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/t.db", **credentials
    )
    consumer = Asking()
    if stand_in is not None:
        consumer.dingtalk = stand_in
    one = ConsumerService(consumer, settings)
    await one.run()
    assert (consumer.asked is stand_in) == (stand_in is not None)
    assert (consumer.clients is None) == (stand_in is None)  # one of ours is closed by now


async def test_readyz_names_the_partition_whose_dead_letter_is_not_taken_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise KafkaUnavailable("no right to write")

    monkeypatch.setattr(RecordWriter, "write", refuse)
    one, sent = serving(tmp_path), record()
    assert one.database is not None
    one._consumer.settings = one._settings
    await one._create_tables(one.database)
    scheduler = one.worker._scheduler
    scheduler.add([kafka_record("t", 0, 0, key=b"k", value=bytes(LARGEST_BYTES))])
    scheduler.add([kafka_record("t", 1, 0, key=sent.key, value=sent.value)])
    await until(lambda: scheduler.offsets.in_flight == 1 and bool(scheduler.down()))
    ready, details = await one._ready()
    assert not ready
    assert details["unavailable"] == {"dead letters": "dead letter not taken: no right to write"}
    await scheduler.close()
    await one.database.close()


async def test_a_stop_does_not_wait_for_a_start_that_does_not_end(tmp_path: Path) -> None:
    """As of tables that another member is changing at this moment."""
    began = asyncio.Event()

    class Waiting(Recording):
        async def start(self) -> None:
            began.set()
            await asyncio.Event().wait()

    one = serving(tmp_path, Waiting)
    async with asyncio.timeout(60):
        running = asyncio.create_task(one.run())
        await began.wait()
        one.stop()
        await running


@pytest.mark.parametrize("ending", [_fails, _is_cancelled_from_within])
async def test_background_work_that_fails_ends_the_process_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    class Restless(Recording):
        async def background(self) -> None:
            await ending()

    one = serving(tmp_path, Restless)
    monkeypatch.setattr(one.worker, "run", asyncio.Event().wait)
    with pytest.raises(TaskEnded, match="of recording beside its events"):
        async with asyncio.timeout(60):
            await one.run()


async def test_background_work_that_does_not_heed_its_cancellation_is_left_behind(tmp_path: Path) -> None:
    began, enough = asyncio.Event(), asyncio.Event()

    class Deaf(Recording):
        async def background(self) -> None:
            began.set()
            while not enough.is_set():
                with suppress(asyncio.CancelledError):
                    await enough.wait()

    one = serving(tmp_path, Deaf)
    one._settings = one._settings.model_copy(update={"shutdown_timeout_s": 0.01})
    one.worker.run = one._stopping.wait  # type: ignore[method-assign,assignment]
    async with asyncio.timeout(60):
        running = asyncio.create_task(one.run())
        await began.wait()
        one.stop()
        await running
    enough.set()


async def test_background_work_that_the_database_rolled_back_is_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "UNAVAILABLE_FIRST_S", 0.001)
    raised = [TransactionRace("a deadlock"), DatabaseDown("it is away")]
    ended = asyncio.Event()

    class Racing(Recording):
        async def background(self) -> None:
            if raised:
                raise raised.pop()
            ended.set()

    one = serving(tmp_path, Racing)
    monkeypatch.setattr(one.worker, "run", one._stopping.wait)
    async with asyncio.timeout(60):
        running = asyncio.create_task(one.run())
        await ended.wait()
        one.stop()
        await running


def test_a_misspelt_event_type_ends_the_start_and_a_new_one_is_declared(tmp_path: Path) -> None:
    class Misspelt(Recording):
        topics = ("user_leaves_org", "unclassified")

    with pytest.raises(
        SettingsError, match=r"'user_leaves_org', user_leave_org is near it; .*new_event_types"
    ):
        serving(tmp_path, Misspelt)
    Misspelt.new_event_types = ("user_leaves_org",)
    serving(tmp_path, Misspelt)


async def test_a_stop_ends_though_the_consumers_own_stop_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dingbridge.worker.service.STOP_REST_S", 0.01, raising=False)
    stops = asyncio.Event()

    class Waiting(Recording):
        async def stop(self) -> None:
            stops.set()
            await asyncio.Event().wait()

    one = serving(tmp_path, Waiting)
    one._settings.shutdown_timeout_s = 0.01
    running = asyncio.create_task(one.run())
    monkeypatch.setattr(one.worker, "run", AsyncMock())
    await stops.wait()
    one.stop()
    done, _ = await asyncio.wait([running], timeout=10)
    running.cancel()
    assert done, "it waits for ever"
