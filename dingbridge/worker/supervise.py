"""Runs a step of a consumer's life again until its dependencies are available. Not for events: their retries
are in ``retries.py``."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from dingbridge.error_location import error_type
from dingbridge.errors import BridgeError
from dingbridge.retry import delay
from dingbridge.tasks import end
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable

log = structlog.get_logger(__name__)
T = TypeVar("T")


def is_unavailable(error: BaseException) -> bool:
    """Whether ``error`` means that a dependency is down: a database, DingTalk or another system."""
    return isinstance(error, BridgeError) and error.unavailable


async def retry_until_available(
    step: Callable[[], Awaitable[None]], consumer: str, stopping: asyncio.Event
) -> None:
    """Await ``step`` until it returns, or ``stopping`` is set between two attempts. Raises what ``step``
    raises, unless ``is_unavailable``, or the database rolled it back because of another transaction: then it
    is called again later."""
    failures = 0
    while not stopping.is_set():
        try:
            await step()
            return
        except BridgeError as error:
            if not (error.unavailable or isinstance(error, Conflict)):
                raise
            failures += 1
            wait = delay(failures, asked_s=error.retry_after_s)
            reason = error.reason if isinstance(error, DependencyUnavailable) else error_type(error)
            log.warning("consumer.waiting", consumer=consumer, reason=reason, retry_in_s=round(wait, 1))
            await cancel_on(stopping, asyncio.sleep(wait))


async def cancel_on(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Await ``work``, but cancel it as soon as ``stopping`` is set; None then."""
    task = asyncio.ensure_future(work)
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        await end(task, stop)
