"""What the doctor finds where a broker is down and partitions of ours have no leader."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from dingbridge.doctor.checks import kafka
from dingbridge.settings import KafkaSettings

TOPIC = "dingtalk.check_in"


class Admin:
    """Knows one topic, whose second partition has no leader."""

    async def _send_request(self, request: Any) -> Any:
        await asyncio.sleep(0)
        partitions = [{"partition": 0, "leader": 1}, {"partition": 1, "leader": -1}]
        found = {"topics": [{"topic": TOPIC, "error_code": 0, "partitions": partitions}]}
        return SimpleNamespace(to_object=lambda: found)


class Offsets:
    """As aiokafka: of a partition without a leader nothing is heard within any time."""

    def __init__(self, **_: Any) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def _told(self, places: Any, told: Any) -> dict[Any, Any]:
        await asyncio.sleep(0)
        if any(place.partition == 1 for place in places):
            raise KafkaTimeoutError
        return dict.fromkeys(places, told)

    async def beginning_offsets(self, places: Any) -> dict[Any, int]:
        return await self._told(places, 0)

    async def end_offsets(self, places: Any) -> dict[Any, int]:
        return await self._told(places, 7)

    async def offsets_for_times(self, places: Any) -> dict[Any, Any]:
        return await self._told(places, SimpleNamespace(offset=2))


async def test_pushes_are_counted_where_there_is_a_leader_so_that_the_others_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else this count is waited for in vain, and "no answer in time" is all that is said of Kafka."""
    monkeypatch.setattr(kafka, "AIOKafkaConsumer", Offsets)
    admin: Any = Admin()
    assert await kafka._pushes(KafkaSettings.load(), admin) == (5, False), "at least five"
