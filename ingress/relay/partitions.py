"""Which partition of its topic a record goes to: murmur2 on its key, as Java's producers do. Pure."""

from functools import lru_cache

from aiokafka.partitioner import murmur2

_KEY_BYTES = 256


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of ``key`` in a topic of so many, which are numbered from 0."""
    hashed = _remembered(key) if len(key) <= _KEY_BYTES else murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=10_000)  # 8 µs each in pure Python, and events of one approval or user come together
def _remembered(key: bytes) -> int:
    return int(murmur2(key))
