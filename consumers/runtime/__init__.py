"""The runtime of every consumer: Kafka records in, one database transaction per event out.

What a consumer's author needs is re-exported here. A record's way through it: ``worker.py`` fetches,
``dispatch.py`` keeps order (``lanes.py``), retries and buries, ``process.py`` makes one attempt.
"""

from consumers.runtime.consumer import Consumer, Table
from consumers.runtime.database import (
    Database,
    Reader,
    Transaction,
    UtcDateTime,
    open_database,
)
from consumers.runtime.database_errors import DatabaseDown
from consumers.runtime.memory import MemoryRuntime
from consumers.runtime.outcomes import Again, HandlerOutcome, Reject, Retry, WorldDown
from consumers.runtime.process import Outcome
from dingbridge.events.event import Event

__all__ = [
    "Again",
    "Consumer",
    "Database",
    "DatabaseDown",
    "Event",
    "HandlerOutcome",
    "MemoryRuntime",
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
