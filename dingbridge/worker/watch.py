"""Figures that stand in files and tables rather than in the worker: blocked keys, and the month's API calls.

Read now and then, so that a scrape of the metrics waits for no disk. Every member of a consumer shows the
same ones, since they share what is read.
"""

import asyncio
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import DBAPIError

from dingbridge.api_budget import ApiCalls
from dingbridge.worker import blocked
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.store.database import Database

log = structlog.get_logger(__name__)

INTERVAL_S = 10.0


async def watch(
    consumer: str, metrics: WorkerMetrics, *, blocking_in: Database | None, budget: ApiCalls | None
) -> None:
    """Keep these figures up to date until cancelled. ``blocking_in``: where keys of ``consumer`` may be
    blocked; ``budget``: the calls of the app. A database that does not answer leaves the last figures."""
    while True:
        if blocking_in is not None:
            try:
                number, since = await blocked.count(blocking_in.reader(), consumer)
                metrics.blocked(number, (datetime.now(UTC) - since).total_seconds() if since else 0)
            except (DependencyUnavailable, DBAPIError) as error:
                log.warning("consumer.blocked_not_counted", consumer=consumer, error=type(error).__name__)
        if budget is not None:
            spent = await asyncio.to_thread(budget.spent)
            metrics.api_calls(spent["by_priority"], spent["left"])
        await asyncio.sleep(INTERVAL_S)
