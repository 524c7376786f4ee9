"""The bridge as a library: all that the author of a consumer imports stands here.

``from dingbridge import Consumer, Event, Retry, Reject``. Names are loaded when they are first used, so that
a process which needs a part of the library does not load all of it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `as` makes a name public to type checkers
    from dingbridge.events.event import Event as Event
    from dingbridge.mirror import Mirror as Mirror
    from dingbridge.mirror import people_table as people_table
    from dingbridge.settings import ConsumerSettings as ConsumerSettings
    from dingbridge.settings import Settings as Settings
    from dingbridge.worker.attempts.executor import Outcome as Outcome
    from dingbridge.worker.consumer import Consumer as Consumer
    from dingbridge.worker.consumer import Table as Table
    from dingbridge.worker.context import Context as Context
    from dingbridge.worker.context import Position as Position
    from dingbridge.worker.context import Reader as Reader
    from dingbridge.worker.handlers.on import on as on
    from dingbridge.worker.outcomes import Conflict as Conflict
    from dingbridge.worker.outcomes import DependencyUnavailable as DependencyUnavailable
    from dingbridge.worker.outcomes import Failure as Failure
    from dingbridge.worker.outcomes import HandlerOutcome as HandlerOutcome
    from dingbridge.worker.outcomes import Reject as Reject
    from dingbridge.worker.outcomes import Retry as Retry
    from dingbridge.worker.store.database import Database as Database
    from dingbridge.worker.store.database import open_database as open_database
    from dingbridge.worker.store.errors import DatabaseDown as DatabaseDown
    from dingbridge.worker.store.forgetting import Forgotten as Forgotten
    from dingbridge.worker.store.forgetting import Person as Person
    from dingbridge.worker.store.restored import Restored as Restored
    from dingbridge.worker.store.transaction import Transaction as Transaction
    from dingbridge.worker.store.utc import UtcDateTime as UtcDateTime

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
    "Outcome": "worker.attempts.executor",
    "on": "worker.handlers.on",
    "Conflict": "worker.outcomes",
    "Failure": "worker.outcomes",
    "HandlerOutcome": "worker.outcomes",
    "Reject": "worker.outcomes",
    "Retry": "worker.outcomes",
    "DependencyUnavailable": "worker.outcomes",
    "Database": "worker.store.database",
    "Reader": "worker.context",
    "Forgotten": "worker.store.forgetting",
    "Person": "worker.store.forgetting",
    "Restored": "worker.store.restored",
    "Transaction": "worker.store.transaction",
    "UtcDateTime": "worker.store.utc",
    "open_database": "worker.store.database",
    "DatabaseDown": "worker.store.errors",
}


if not TYPE_CHECKING:  # else a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
