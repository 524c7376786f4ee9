"""The runtime of every consumer: Kafka records in, one database transaction per event out.

What a consumer's author needs is re-exported here. A record's way through it: ``worker.py`` fetches,
``dispatch.py`` keeps order (``lanes.py``), retries and buries, ``process.py`` makes one attempt.
"""

from dingbridge.events.event import Event
from dingbridge.worker.consumer import Consumer, Table
from dingbridge.worker.executor import Outcome
from dingbridge.worker.outcomes import Again, HandlerOutcome, Reject, Retry, WorldDown
from dingbridge.worker.store.database import (
    Database,
    Reader,
    Transaction,
    UtcDateTime,
    open_database,
)
from dingbridge.worker.store.errors import DatabaseDown

__all__ = [
    "Again",
    "Consumer",
    "Database",
    "DatabaseDown",
    "Event",
    "HandlerOutcome",
    "Outcome",
    "Reader",
    "Reject",
    "Retry",
    "Table",
    "Transaction",
    "UtcDateTime",
    "WorldDown",
    "open_database",
]
