"""Which partition of its topic a record goes to: murmur2 on its key, as Java's producers do. Pure."""

from collections.abc import Iterable
from functools import lru_cache

from aiokafka.partitioner import murmur2

_KEY_BYTES = 256


class Partitions:
    """The partitions of topics as one producer knows them. Partitions are numbered from 0, without a gap."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __contains__(self, topic: object) -> bool:
        return topic in self._counts

    def learn(self, topic: str, partitions: Iterable[int]) -> None:
        """``topic`` has these."""
        self._counts[topic] = len(list(partitions))

    def forget(self) -> None:
        """A new producer asks anew."""
        self._counts.clear()

    def of(self, topic: str, key: bytes) -> int:
        """The partition of ``key`` in a ``topic`` that was learnt."""
        hashed = _hash(key) if len(key) <= _KEY_BYTES else murmur2(key)
        return (hashed & 0x7FFFFFFF) % self._counts[topic]


@lru_cache(maxsize=10_000)  # 8 µs each in pure Python, and events of one approval or user come together
def _hash(key: bytes) -> int:
    return int(murmur2(key))
