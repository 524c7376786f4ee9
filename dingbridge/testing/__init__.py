"""The test kit of a consumer's author: recorded events, and one test that runs in memory or on a real Kafka.

``pytest -p dingbridge.testing.plugin`` (this project's and every scaffold's ``pyproject.toml`` say so) brings
the fixture ``running``::

    async def test_an_approval_becomes_a_bill(running):
        async with running(Billing(), dingtalk=DingTalk()) as runtime:
            for record in recorded(Path(__file__).parent / "events"):
                assert (await runtime.deliver(record)).kind == "done"
            assert len(await runtime.rows(select(bills))) == 1

Without a flag ``runtime`` is a ``MemoryRuntime``; with ``pytest --kafka`` it is a ``KafkaRuntime``: the same
test, the same answers, through topics and a worker.
"""

from dingbridge.testing.kafka import KafkaRuntime
from dingbridge.testing.memory import MemoryRuntime
from dingbridge.testing.recordings import recorded

__all__ = ["KafkaRuntime", "MemoryRuntime", "recorded"]
