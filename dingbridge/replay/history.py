"""What was copied into a consumer's inbox before, read off the copies themselves: no state is kept elsewhere.

Each copy names its source and its run. So a run that was interrupted at any point, on any machine, finds what
it need not copy again; docs/decisions/0023 has the reasons.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.kafka.reader import Spans, TopicReader
from dingbridge.replay.copying import FROM_HEADER
from dingbridge.replay.offset_set import OffsetSet
from dingbridge.worker.delivery import REPLAY_HEADER


@dataclass(slots=True)
class Copies:
    """Offsets of the sources of what was copied, by run and partition. ``runs`` is in order of first copy."""

    runs: dict[str, dict[TopicPartition, OffsetSet]] = field(default_factory=dict)

    def add(self, run: str, source: TopicPartition, offset: int) -> None:
        self.runs.setdefault(run, {}).setdefault(source, OffsetSet()).add(offset)

    def of(self, run: str) -> "Copied":
        """What one run has copied."""
        return Copied(self.runs.get(run, {}))


class Copied:
    """Answers whether a record was copied."""

    def __init__(self, offsets: dict[TopicPartition, OffsetSet]) -> None:
        self._offsets = offsets

    def __contains__(self, record: ConsumerRecord) -> bool:
        return record.offset in self._offsets.get(TopicPartition(record.topic, record.partition), ())


async def copies(reader: TopicReader, inbox: Spans, wanted: Callable[[str, TopicPartition], bool]) -> Copies:
    """What the inbox holds of copies whose run and source are ``wanted``. Raises ``KafkaUnavailable``."""
    found = Copies()
    async for record in reader.read(inbox):
        run, source = header(record, REPLAY_HEADER), header(record, FROM_HEADER)
        if run is None or source is None:
            continue
        topic, _, rest = source.partition("/")
        partition, _, offset = rest.partition("/")
        if not (partition.isdecimal() and offset.isdecimal()):
            continue
        at = TopicPartition(topic, int(partition))
        if wanted(run, at):
            found.add(run, at, int(offset))
    return found


def header(record: ConsumerRecord, name: str) -> str | None:
    """The text of a record's last header ``name``, None without one."""
    for found, value in reversed(record.headers):
        if found == name and value is not None:
            return bytes(value).decode(errors="replace")
    return None
