"""What a consumer group committed, with the metadata beside it, which ``AIOKafkaConsumer`` does not read."""

from collections.abc import Collection

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from dingbridge.kafka.admin import admin_client
from dingbridge.settings import KafkaSettings

_ANSWER_WITHIN_S = 3


async def committed_offsets(
    settings: KafkaSettings, group: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """The offsets of ``partitions`` that ``group`` has committed; one without is left out. Raises
    ``KafkaUnavailable`` when they are not there within some seconds."""
    async with admin_client(settings, _ANSWER_WITHIN_S) as admin:
        found = await admin.list_consumer_group_offsets(group, partitions=sorted(partitions))
    return {partition: committed for partition, committed in found.items() if committed.offset >= 0}
