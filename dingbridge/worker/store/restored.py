"""What ``Consumer.restored`` is told of a database that went back in time."""

from collections.abc import Mapping
from dataclasses import dataclass

from dingbridge.worker.context import Position

Ends = Mapping[str, Mapping[str, int]]
"""Topic to number of a partition (a text) to the offset behind its last record."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A database that went back: a copy was put back, or a standby that lacked the last transactions was
    promoted. ``at_ms`` is until when it is complete (epoch ms; 0: not known), ``ends`` where those topics
    ended when this was noticed that are read again. ``lost``: Kafka no longer has all records between."""

    at_ms: int
    ends: Ends
    lost: bool = False

    def may_be_known(self, position: Position) -> bool:
        """Whether the record at ``position`` was in Kafka before that: it may have been handled without a
        trace in this database."""
        return position.offset < self.ends.get(position.topic, {}).get(str(position.partition), 0)
