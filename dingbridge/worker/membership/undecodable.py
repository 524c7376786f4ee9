"""Fetches past a record that aiokafka cannot decode (``kafka/undecodable.py``): it is given up."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from aiokafka import AIOKafkaConsumer, TopicPartition

from dingbridge.events.event import NotAnEvent
from dingbridge.kafka.undecodable import stand_in
from dingbridge.worker.dead_letters import in_place
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.scheduling.scheduler import Scheduler

AGAIN_MS = 5_000
"""How long one fetch waits for records that Kafka has given before, in ms."""

UNDECODABLE = Failure.of(
    NotAnEvent(
        "a header's name, in this record or in an earlier one of its batch, is no UTF-8, so aiokafka cannot "
        "decode it; the record itself is in Kafka only, at its place"
    ),
    "dingbridge",
    1,
)


async def fetch_one_by_one(
    kafka: AIOKafkaConsumer,
    scheduler: Scheduler,
    assigned: Collection[TopicPartition],
    most: int,
    noted: Callable[[TopicPartition, int], Awaitable[bool]],
) -> None:
    """Fetch past such a record. The ``getmany`` that came to it has lost what it took from other partitions,
    so each of ``assigned`` begins again where its queued records end, with at most ``most``.

    ``noted`` returns when records of the partition may be started that are below the offset; false when the
    group has settled anew: the next assignment begins with what is committed.
    """
    for partition in tuple(assigned):
        begin = scheduler.offsets.next_offset(partition)
        if begin is None:
            begin = await kafka.committed(partition) or 0  # 0 may be out of range: then the earliest
        if not await noted(partition, begin):
            return
        kafka.seek(partition, begin)
    for partition in tuple(assigned):
        for _ in range(most):
            if partition in scheduler.paused():
                break
            if await kafka.position(partition) >= (kafka.highwater(partition) or 0):
                break
            try:
                found = await kafka.getmany(partition, timeout_ms=AGAIN_MS, max_records=1)
            except UnicodeDecodeError:
                offset = await kafka.position(partition)  # it has one, so nothing is waited for
                if not await noted(partition, offset + 1):
                    return
                kafka.seek(partition, offset + 1)
                scheduler.add([in_place(stand_in(partition, offset))], UNDECODABLE)
                continue
            if not found:
                break
            if not await noted(partition, found[partition][-1].offset + 1):
                return
            scheduler.add(found[partition])
        await asyncio.sleep(0)
