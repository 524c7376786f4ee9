"""The runtime of every consumer: Kafka records in, one database transaction per event out.

What a consumer's author needs is re-exported here; ``docs/consumers.md`` says how to write one.
"""

from consumers.runtime.consumer import Consumer, Table
from consumers.runtime.database import (
    Database,
    DatabaseDown,
    Reader,
    Transaction,
    UtcDateTime,
    open_database,
)
from consumers.runtime.memory import MemoryRuntime
from consumers.runtime.outcomes import Again, HandlerOutcome, Reject, Retry, WorldDown
from consumers.runtime.process import Outcome
from schemas.event import Event

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
