"""Runs a step of a consumer's life again and again: while the world is down for it, or for as long as the
consumer runs. Not for events: their waiting is ``dispatch.py``'s."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from dingbridge.errors import BridgeError
from dingbridge.worker.executor import place
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable
from dingbridge.worker.retry import world_delay

log = structlog.get_logger(__name__)
T = TypeVar("T")

BEGIN_AGAIN_S = 30.0
"""After a chore ended by a fault of ours, in s."""


def is_world_down(error: BaseException) -> bool:
    """Whether ``error`` says that the world is down: the runtime's own, or one of DingTalk's by its flag."""
    return isinstance(error, DependencyUnavailable) or bool(getattr(error, "world_down", False))


async def patiently(step: Callable[[], Awaitable[None]], consumer: str, stopping: asyncio.Event) -> None:
    """Await ``step`` until it returns, or ``stopping`` is set between two attempts. Raises what ``step``
    raises, unless that says that the world is down, or that the database rolled it back because of another
    transaction: then it is called again later."""
    failures = 0
    while not stopping.is_set():
        try:
            await step()
            return
        except BridgeError as error:
            if not (is_world_down(error) or isinstance(error, Conflict)):
                raise
            failures += 1
            asked = (
                error.after
                if isinstance(error, DependencyUnavailable)
                else getattr(error, "retry_after_s", None)
            )
            wait = world_delay(failures, asked)
            reason = error.reason if isinstance(error, DependencyUnavailable) else type(error).__name__
            log.warning("consumer.waiting", consumer=consumer, reason=reason, retry_in_s=round(wait, 1))
            try:
                async with asyncio.timeout(wait):
                    await stopping.wait()
            except TimeoutError:
                continue


async def unless(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Await ``work``, but cancel it as soon as ``stopping`` is set; None then."""
    task = asyncio.ensure_future(work)
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        stop.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def chore(work: Callable[[], Coroutine[Any, Any, None]], consumer: str, name: str) -> None:
    """Await ``work``, which has no end, until cancelled; ends it all the same, say so and begin it again.

    For what a process does beside its events: nobody reads the result of such a task, so its end would show
    in nothing but what is no longer done."""
    while True:
        error: BaseException | None = None
        try:
            await work()
        except Exception as fault:
            error = fault
        except asyncio.CancelledError as fault:
            if being_cancelled():
                raise
            error = fault  # by something within it
        log.error("consumer.chore_ended", consumer=consumer, chore=name, error=place(error, "consumers"))
        await asyncio.sleep(BEGIN_AGAIN_S)


def being_cancelled() -> bool:
    """Whether a ``CancelledError`` is meant for the task that runs, and does not come from within it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
