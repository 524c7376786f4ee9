"""What a consumer's process does beside its events."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dingbridge import retry as backoff
from dingbridge.errors import SettingsError
from dingbridge.events.event import decode
from dingbridge.settings import ConsumerSettings
from dingbridge.worker import service, supervise
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.service import ConsumerFault, ConsumerService
from dingbridge.worker.store import inbox
from dingbridge.worker.store.errors import DatabaseDown, TransactionRace
from tests.unit.worker.support import Recording, record


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
        await tx.execute(inbox.topics.update().values(since=now - 3 * hour))
    await database.close()
    assert await late(now - 4 * hour, now - 2.5 * hour) == 1


async def _fails() -> None:
    raise KeyError("张三")


async def _ends() -> None: ...


async def _is_cancelled_from_within() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("ending", [_fails, _ends, _is_cancelled_from_within])
async def test_a_chore_that_ends_is_told_of_and_begins_again(
    monkeypatch: pytest.MonkeyPatch, ending: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    monkeypatch.setattr(supervise, "BEGIN_AGAIN_S", 0.001)
    begun = 0
    again = asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            await ending()
            return
        again.set()
        await asyncio.Event().wait()

    with capture_logs() as logs:
        task = asyncio.create_task(supervise.run_forever(work, "billing", "pruning"))
        await asyncio.wait([task, asyncio.create_task(again.wait())], return_when="FIRST_COMPLETED")
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("consumer.task_ended", "error")] * 2
    assert "张三" not in str(logs)


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


class Restless(Recording):
    async def background(self) -> None:
        raise asyncio.CancelledError  # as of a library that was itself cancelled


async def test_background_work_that_is_cancelled_from_within_ends_the_process(tmp_path: Path) -> None:
    one = serving(tmp_path, Restless)
    with pytest.raises(ConsumerFault, match="CancelledError"):
        await one._run_background()
    assert one._stopping.is_set()


async def test_background_work_that_the_database_rolled_back_is_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "UNAVAILABLE_FIRST_S", 0.001)
    raised = [TransactionRace("a deadlock"), DatabaseDown("it is away")]

    class Racing(Recording):
        async def background(self) -> None:
            if raised:
                raise raised.pop()

    one = serving(tmp_path, Racing)
    async with asyncio.timeout(60):
        await one._run_background()
    assert not raised
    assert not one._stopping.is_set()


async def test_what_runs_beside_the_events_begins_again_within_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "BEGIN_AGAIN_S", 0.001)
    begun = 0
    one = serving(tmp_path)

    async def failing(*_: Any) -> None:
        nonlocal begun
        begun += 1
        if begun == 2:
            one.stop()
        raise KeyError("pruning")

    monkeypatch.setattr(service, "prune_regularly", failing)
    monkeypatch.setattr(one.worker, "run", one._stopping.wait)
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            await one.run()
    assert {entry["task"] for entry in logs if entry["event"] == "consumer.task_ended"} == {"pruning"}


def test_a_misspelt_event_type_ends_the_start_and_a_new_one_is_declared(tmp_path: Path) -> None:
    class Misspelt(Recording):
        topics = ("user_leaves_org", "unclassified")

    with pytest.raises(
        SettingsError, match=r"'user_leaves_org', user_leave_org is near it; .*new_event_types"
    ):
        serving(tmp_path, Misspelt)
    Misspelt.new_event_types = ("user_leaves_org",)
    serving(tmp_path, Misspelt)
