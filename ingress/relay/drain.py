"""Folders that nobody writes any more are published as well: damaged ones, and those of an instance that is
gone. All by the code that publishes the current journal, with that folder's ``relay.lock``.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import structlog
from prometheus_client import Gauge

from dingbridge.settings import IngressSettings
from ingress.errors import JournalDamaged, JournalError
from ingress.journal.checkpoint import DAMAGED, Checkpoint, SharedCheckpoint
from ingress.journal.directory import JournalFolder, current, damaged, exclusive_locks, relay_lock
from ingress.metrics import PublishingMetrics
from ingress.relay.messages import MessageBuilder
from ingress.relay.parked import ParkedRecords
from ingress.relay.process import PublisherProcess
from ingress.relay.publisher import Publisher
from ingress.relay.reading import JournalReader
from ingress.relay.stats import PublisherStats
from ingress.relay.topics import TopicRouter

log = structlog.get_logger(__name__)

_STOP_S: Final = 2.0
_STOP_DRAINS_S: Final = 0.5


class Relays:
    """The relays of one ingress: that of the ``current`` journal, and one for each damaged folder below
    ``root``, until that is drained."""

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str],
        metrics: PublishingMetrics,
        connected: Gauge,
        on_damaged: Callable[[str], None],
    ) -> None:
        """``on_damaged`` hears why the current journal cannot be read any more."""
        self._root, self._environment, self._metrics = root, environment, metrics
        self.current = PublisherProcess(
            metrics, environment, current(root).path, connected, on_damaged=on_damaged
        )
        self._of_damaged: dict[JournalFolder, PublisherProcess] = {}

    def of_damaged(self) -> list[PublisherProcess]:
        """Those of damaged folders that are not drained yet."""
        return [relay for relay in self._of_damaged.values() if not relay.done]

    def start(self) -> None:
        """Begin with all folders that there are."""
        self.current.start()
        self._drain_damaged()

    async def stop(self, timeout_s: float) -> None:
        """Let them finish what is under way, the current journal's for ``timeout_s`` at most."""
        await self.current.stop(timeout_s)
        for relay in self.of_damaged():
            await relay.stop(_STOP_DRAINS_S)

    async def stop_relay(self) -> None:
        """The current folder is about to be renamed: nobody may read it meanwhile."""
        await self.current.stop(_STOP_S)

    async def start_relay(self) -> None:
        """There is a new journal, and perhaps one more damaged folder."""
        self.current.start()
        self._drain_damaged()

    def _drain_damaged(self) -> None:
        for folder in damaged(self._root):
            if folder not in self._of_damaged:
                log.info("relay.drains", folder=folder.name)
                relay = PublisherProcess(self._metrics, self._environment, folder.path, drain=True)
                self._of_damaged[folder] = relay
                relay.start()


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
            await Publisher(settings, folder, PublisherStats(), drain=True).run()
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
        yield ParkedRecords(
            settings, SharedCheckpoint(checkpoint), journal, messages, router, PublisherStats()
        )
