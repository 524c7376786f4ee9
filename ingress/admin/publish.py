"""Sends a journal to Kafka that no ingress uses."""

from contextlib import closing
from pathlib import Path

from prometheus_client import CollectorRegistry

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.routes import retention
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import DRAINED, beside_current, current
from dingbridge.ingress.journal.locks import journal_lock
from dingbridge.ingress.journal.rows import DAMAGED
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import companies
from dingbridge.tasks import WatchedTasks


async def publish(settings: IngressSettings, root: Path) -> int:
    """Publish the journal in ``root`` (a ``JOURNAL_DIR``) until nothing waits, and try once what is parked.
    Returns how many callbacks stay parked, without damaged ones.

    Raises ``BridgeError``: there is no journal, an ingress uses it, it cannot be read, or folders that were
    put aside are not drained yet. Waits for a Kafka that is away."""
    if not current(root).exists():
        raise BridgeError(
            f"there is no journal in {current(root).parent}; name a JOURNAL_DIR, or set it as for the "
            "ingress; `dingbridge journal drain` takes any folder with a journal.db"
        )
    with journal_lock(root):
        for path in beside_current(root):
            if not (path.parent / DRAINED).exists():
                raise BridgeError(
                    f"{path.parent} is not drained yet; start an ingress on {root}: it drains damaged-… by "
                    "itself, any other folder by `dingbridge journal drain`; then move that away"
                )
        await _publish(settings, root)
        with closing(JournalFile(current(root), read_only=True)) as file:
            return sum(group.callbacks for group in file.parked_groups() if group.reason != DAMAGED)


async def _publish(settings: IngressSettings, root: Path) -> None:
    registry = CollectorRegistry()
    journal = Journal(root, retention(settings), JournalMetrics(registry))
    async with WatchedTasks() as tasks:
        await journal.start()
        try:
            if journal.fault is not None:
                raise BridgeError(journal.fault)
            tasks.need("that waits for damage of the journal", journal.until_damaged)
            known = companies(settings)
            publisher = Publisher(settings, lambda: known, journal, RelayStatus(registry), until_empty=True)
            publisher.retry()
            await publisher.run()
        finally:
            await journal.stop()
