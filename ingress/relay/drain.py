"""Folders that nobody writes any more are published as well: damaged ones, and those of an instance that is
gone. All by the code that publishes the current journal, with that folder's ``relay.lock``.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from dingbridge.settings import IngressSettings
from ingress.errors import JournalDamaged, JournalError
from ingress.journal.checkpoint import DAMAGED, Checkpoint, SharedCheckpoint
from ingress.journal.directory import exclusive_locks, relay_lock
from ingress.relay.messages import MessageBuilder
from ingress.relay.parked import ParkedRecords
from ingress.relay.publisher import Publisher
from ingress.relay.reading import JournalReader
from ingress.relay.status import RelayStatus
from ingress.relay.topics import TopicRouter


@dataclass(frozen=True, slots=True)
class Drained:
    """How much of a folder is ``parked``, and may be retried; ``damaged`` callbacks and ``unread`` ones are
    lost, unless there is a back-up of the folder."""

    parked: int
    damaged: int
    unread: int


async def drain(settings: IngressSettings, folder: Path) -> Drained:
    """Publish all that can be read of ``folder``, which nobody writes. Takes as long as Kafka is away.

    Raises ``JournalLocked`` while a relay has it, ``JournalDamaged`` where nothing of it can be read,
    ``JournalError`` for a journal of another version."""
    with exclusive_locks(relay_lock(folder)):
        try:
            await Publisher(settings, folder, RelayStatus(), drain=True).run()
            return what_is_left(folder)
        except apsw.Error as error:
            raise JournalDamaged(f"{folder} cannot be read ({type(error).__name__}: {error})") from error


def what_is_left(folder: Path) -> Drained:
    """Of a folder that was drained, by whoever holds its relay's lock. Raises ``JournalError`` or
    ``apsw.Error``."""
    with closing(Checkpoint(folder)) as checkpoint:
        counts, unread = checkpoint.parked_counts(), checkpoint.unread()
    lost = sum(count for (_, reason), count in counts.items() if reason == DAMAGED)
    return Drained(sum(counts.values()) - lost, lost, unread)


async def retry_parked(settings: IngressSettings, folder: Path) -> int:
    """Try what is parked in ``folder``, without a relay; how many records still are.

    Raises ``JournalLocked`` while a relay has it, ``KafkaUnavailable``, ``JournalError``."""
    with exclusive_locks(relay_lock(folder)):
        try:
            async with _parked_records(settings, folder) as parked:
                return await parked.retry()
        except apsw.Error as error:
            raise JournalError(
                f"{folder} cannot be read ({type(error).__name__}: {error}); free or replace the disk"
            ) from error


@asynccontextmanager
async def _parked_records(settings: IngressSettings, folder: Path) -> AsyncIterator[ParkedRecords]:
    with closing(JournalReader(folder)) as journal, closing(Checkpoint(folder, journal.id)) as checkpoint:
        router = TopicRouter(settings, settings.unknown_topics_max)
        await router.load()
        messages = MessageBuilder(settings, journal.id)
        yield ParkedRecords(settings, SharedCheckpoint(checkpoint), journal, messages, router, RelayStatus())
