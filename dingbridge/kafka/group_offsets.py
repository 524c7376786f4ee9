"""What a consumer group committed, with the metadata beside it, which ``AIOKafkaConsumer`` does not read; and
another place for a group without members."""

from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.admin import admin_client, explaining
from dingbridge.kafka.client import connection, discard_consumer
from dingbridge.settings import KafkaSettings

_ANSWER_WITHIN_S = 3


async def committed_offsets(
    settings: KafkaSettings, group: str, partitions: Collection[TopicPartition] | None = None
) -> dict[TopicPartition, OffsetAndMetadata]:
    """The offsets of ``partitions`` (None: of all) that ``group`` has committed; one without is left out.
    Raises ``KafkaUnavailable`` when they are not there within some seconds."""
    wanted = None if partitions is None else sorted(partitions)
    async with admin_client(settings, _ANSWER_WITHIN_S) as admin:
        found = await admin.list_consumer_group_offsets(group, partitions=wanted)
    return {partition: committed for partition, committed in found.items() if committed.offset >= 0}


async def set_offsets(settings: KafkaSettings, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit ``offsets`` for ``group``, whose members read on from there. Raises ``KafkaUnavailable``, also
    while it has members."""
    kafka = AIOKafkaConsumer(**connection(settings), group_id=group, enable_auto_commit=False)
    try:
        with explaining(settings):
            await kafka.start()
            kafka.assign(list(offsets))
            await kafka.commit(dict(offsets))
    except KafkaUnavailable as error:
        if isinstance(error.__cause__, CommitFailedError):
            raise KafkaUnavailable(
                f"the group {group} has members: stop the consumer, and try again"
            ) from error
        raise
    finally:
        await discard_consumer(kafka)
