"""What a consumer's process does beside its events."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.errors import KafkaUnavailable
from bridge.settings import ConsumerSettings
from consumers.runtime import inbox, service
from consumers.runtime.retention import Retention
from tests.unit.runtime.support import Recording


async def test_a_kafka_that_cannot_tell_its_retention_at_the_start_is_asked_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down, told = KafkaUnavailable("does not answer"), Retention(timedelta(days=14), ())
    answers: list[Any] = [down, down, told]
    pruned = asyncio.Event()

    async def longest_retention(settings: Any, topics: Any) -> Retention:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return told

    async def prune(*_: Any) -> int:
        pruned.set()
        return 0

    monkeypatch.setattr(service, "longest_retention", longest_retention)
    monkeypatch.setattr(service, "PRUNE_RETRY_S", 0.001)
    monkeypatch.setattr(inbox, "prune", prune)
    settings = ConsumerSettings.load(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/t.db")
    one = service.ConsumerService(Recording(), settings)
    assert one.database is not None
    with capture_logs() as logs:
        pruning = asyncio.create_task(one._prune_regularly(one.database))
        async with asyncio.timeout(60):
            await pruned.wait()
        pruning.cancel()
        await asyncio.wait([pruning])
    await one.database.close()
    said = [entry["event"].removeprefix("consumer.") for entry in logs]
    assert said[:3] == ["inbox_not_pruned", "inbox_not_pruned", "inbox_kept"]
