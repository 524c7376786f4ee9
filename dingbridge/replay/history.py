"""What was copied into a consumer's inbox before, read off the copies themselves: no state is kept elsewhere.

Each copy names its source and its run. So a run that was interrupted at any point, on any machine, finds what
it need not copy again; docs/decisions/0023 has the reasons.
"""

from collections.abc import Callable

from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.events.foreign import whole_number
from dingbridge.kafka.reader import Spans, TopicReader
from dingbridge.replay.copying import FROM_HEADER
from dingbridge.replay.offset_set import OffsetSet
from dingbridge.worker.delivery import REPLAY_HEADER


class Copied:
    """What one run has copied: answers whether a record was."""

    def __init__(self) -> None:
        self._offsets: dict[TopicPartition, OffsetSet] = {}

    def add(self, source: TopicPartition, offset: int) -> None:
        self._offsets.setdefault(source, OffsetSet()).add(offset)

    def __contains__(self, record: ConsumerRecord) -> bool:
        return record.offset in self._offsets.get(TopicPartition(record.topic, record.partition), ())


async def copies(
    reader: TopicReader, inbox: Spans, wanted: Callable[[str, TopicPartition], bool]
) -> dict[str, Copied]:
    """By run, what the inbox holds of copies whose run and source are ``wanted``. Raises
    ``KafkaUnavailable``."""
    found: dict[str, Copied] = {}
    async for record in reader.read(inbox):
        run, source = header(record, REPLAY_HEADER), header(record, FROM_HEADER)
        if run is None or source is None:
            continue
        topic, _, rest = source.partition("/")
        partition, _, offset = rest.partition("/")
        number, place = whole_number(partition), whole_number(offset)
        if number is None or place is None:
            continue
        if wanted(run, at := TopicPartition(topic, number)):
            found.setdefault(run, Copied()).add(at, place)
    return found


def header(record: ConsumerRecord, name: str) -> str | None:
    """The text of a record's last header ``name``, None without one."""
    for found, value in reversed(record.headers):
        if found == name and value is not None:
            return bytes(value).decode(errors="replace")
    return None
