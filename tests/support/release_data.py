"""What a release has written, as ``dev/fixture_of_release.py`` left it in ``tests/fixtures/<release>/``."""

import asyncio
import gzip
import json
import shutil
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from dingbridge.kafka.client import connection
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from tests.support.kafka_reader import delete_topics

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASES = sorted(path.name for path in FIXTURES.iterdir())


class ReleaseData:
    """The data of one release, with the consumers on ``database`` (``sqlite`` or ``postgres``)."""

    def __init__(self, release: str, database: str) -> None:
        self.folder = FIXTURES / release / database
        self.prefix = f"of-{database}."

    @cached_property
    def _lines(self) -> list[dict[str, Any]]:
        text = gzip.decompress((self.folder / "topics.jsonl.gz").read_bytes())
        return [json.loads(line) for line in text.splitlines()]

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records of all topics; ``value`` as bytes."""
        return [line | {"value": b64decode(line["value"] or "")} for line in self._lines[1:]]

    def unpack(self, data_dir: Path) -> None:
        """The files as ``DATA_DIR``, ``apps.toml`` and the like too."""
        data_dir.mkdir(mode=0o700)
        for packed in self.folder.glob("*.db.gz"):
            (data_dir / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
        for name in ("console-audit.jsonl", "console-users.toml", "apps.toml", "owners.toml", "forward.toml"):
            shutil.copy(self.folder / name, data_dir / name)
        (data_dir / "console-users.toml").chmod(0o600)

    async def restore_postgres(self, url: str) -> None:
        """Into an empty database, of any version of PostgreSQL."""
        dumped = gzip.decompress((self.folder / "postgres.sql.gz").read_bytes()).decode()
        kept = [line for line in dumped.splitlines() if not line.startswith("SET transaction_timeout")]
        database = await asyncpg.connect(url)
        try:
            await database.execute("\n".join(kept))
        finally:
            await database.close()

    @asynccontextmanager
    async def in_kafka(self, settings: KafkaSettings) -> AsyncIterator[None]:
        """The topics with their records at their offsets, and what the groups have committed; the topics are
        deleted at the end. The records get the time of now: Kafka deletes what is old."""
        await delete_topics(settings, [self.prefix, f"ctl-{self.prefix}"])  # of a run that was cut off
        counts = self._lines[0]["topics"]
        await ensure_topics(settings, counts, partitions=counts)
        producer = AIOKafkaProducer(**connection(settings), enable_idempotence=True)
        await producer.start()
        try:
            sent = [
                await producer.send(
                    line["topic"],
                    line["value"],
                    None if line["key"] is None else b64decode(line["key"]),
                    partition=line["partition"],
                    headers=[(name, b64decode(value)) for name, value in line["headers"]],
                )
                for line in self.records
            ]
            offsets = [done.offset for done in await asyncio.gather(*sent)]
            assert offsets == [line["offset"] for line in self.records]
        finally:
            await producer.stop()
        for group, places in json.loads((self.folder / "groups.json").read_text()).items():
            offsets = {
                TopicPartition(topic, int(number)): offset
                for (topic, _, number), offset in ((p.rpartition("/"), o) for p, o in places.items())
            }
            consumer = AIOKafkaConsumer(**connection(settings), group_id=group, enable_auto_commit=False)
            await consumer.start()
            try:
                consumer.assign(list(offsets))
                await consumer.commit(offsets)
            finally:
                await consumer.stop()
        try:
            yield
        finally:
            await delete_topics(settings, [self.prefix, f"ctl-{self.prefix}"])
