"""What a consumer group committed, with the metadata beside it, which ``AIOKafkaConsumer`` does not read."""

import asyncio
from collections.abc import Collection

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import connection, explain
from dingbridge.settings import KafkaSettings

_ANSWER_WITHIN_S = 3


async def committed_offsets(
    settings: KafkaSettings, group: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """The offsets of ``partitions`` that ``group`` has committed; one without is left out. Raises
    ``KafkaUnavailable`` when they are not there within some seconds."""
    admin = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=_ANSWER_WITHIN_S * 1000)
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            await admin.start()
            found = await admin.list_consumer_group_offsets(group, partitions=sorted(partitions))
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(explain(error, settings)) from error
    finally:
        await admin.close()
    return {partition: committed for partition, committed in found.items() if committed.offset >= 0}
