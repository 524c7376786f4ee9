"""What a consumer group committed, with the metadata beside it, which ``AIOKafkaConsumer`` does not read."""

import asyncio
from collections.abc import Collection

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from dingbridge.kafka.admin import admin_client
from dingbridge.settings import KafkaSettings

_ANSWER_WITHIN_S = 3
_TRIES, _TRY_AGAIN_S = 10, 0.2
"""A new Kafka makes its topic of committed offsets when it is first asked, and has no coordinator before."""


async def committed_by(
    admin: AIOKafkaAdminClient,
    settings: KafkaSettings,
    group: str,
    partitions: Collection[TopicPartition] | None = None,
) -> dict[TopicPartition, OffsetAndMetadata]:
    """What ``group`` has committed of ``partitions`` (None: of all), in this installation's topics alone.
    Raises what ``admin`` does."""
    wanted = None if partitions is None else sorted(partitions)
    for tries_left in reversed(range(_TRIES)):
        try:
            found = await admin.list_consumer_group_offsets(group, partitions=wanted)
            break
        except GroupCoordinatorNotAvailableError:
            if not tries_left:
                raise
            await asyncio.sleep(_TRY_AGAIN_S)
    return {
        p: committed for p, committed in found.items() if committed.offset >= 0 and settings.is_ours(p.topic)
    }


async def committed_offsets(
    settings: KafkaSettings, group: str, partitions: Collection[TopicPartition] | None = None
) -> dict[TopicPartition, OffsetAndMetadata]:
    """``committed_by``. Raises ``KafkaUnavailable`` when they are not there within some seconds."""
    async with admin_client(settings, _ANSWER_WITHIN_S) as admin:
        return await committed_by(admin, settings, group, partitions)
