"""The bridge as a library: all that the author of a consumer imports stands here.

``from dingbridge import Consumer, Event, Retry, Reject``. Names are loaded when they are first used, so that
a process which needs a part of the library does not load all of it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dingbridge.events.event import Event
    from dingbridge.mirror import Mirror, people_table
    from dingbridge.settings import ConsumerSettings, Settings
    from dingbridge.worker.consumer import Consumer, Table
    from dingbridge.worker.context import Context, Position, Reader
    from dingbridge.worker.executor import Outcome
    from dingbridge.worker.handlers.on import on
    from dingbridge.worker.outcomes import (
        Conflict,
        DependencyUnavailable,
        Failure,
        HandlerOutcome,
        Reject,
        Retry,
    )
    from dingbridge.worker.store.database import Database, open_database
    from dingbridge.worker.store.errors import DatabaseDown
    from dingbridge.worker.store.transaction import Transaction
    from dingbridge.worker.store.utc import UtcDateTime

_HOME = {
    "Event": "events.event",
    "Mirror": "mirror",
    "people_table": "mirror",
    "ConsumerSettings": "settings",
    "Settings": "settings",
    "Consumer": "worker.consumer",
    "Table": "worker.consumer",
    "Context": "worker.context",
    "Position": "worker.context",
    "Outcome": "worker.executor",
    "on": "worker.handlers.on",
    "Conflict": "worker.outcomes",
    "Failure": "worker.outcomes",
    "HandlerOutcome": "worker.outcomes",
    "Reject": "worker.outcomes",
    "Retry": "worker.outcomes",
    "DependencyUnavailable": "worker.outcomes",
    "Database": "worker.store.database",
    "Reader": "worker.context",
    "Transaction": "worker.store.transaction",
    "UtcDateTime": "worker.store.utc",
    "open_database": "worker.store.database",
    "DatabaseDown": "worker.store.errors",
}

__all__ = [
    "Conflict",
    "Consumer",
    "ConsumerSettings",
    "Context",
    "Database",
    "DatabaseDown",
    "DependencyUnavailable",
    "Event",
    "Failure",
    "HandlerOutcome",
    "Mirror",
    "Outcome",
    "Position",
    "Reader",
    "Reject",
    "Retry",
    "Settings",
    "Table",
    "Transaction",
    "UtcDateTime",
    "on",
    "open_database",
    "people_table",
]


if not TYPE_CHECKING:  # else a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
