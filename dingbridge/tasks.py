"""Watches the tasks that a process needs: when one ends, the process ends with an error that names it.

Its supervisor starts the process again, which goes on from what is on the disk or in Kafka. Otherwise a loop
could die unnoticed while ``/readyz`` still reports "ready".
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from types import TracebackType
from typing import Any, NoReturn, Self

import structlog

from dingbridge.error_location import error_frames, error_location, error_type
from dingbridge.errors import BridgeError

log = structlog.get_logger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class TaskEnded(BridgeError):
    """A task that a process needs has ended before the process was asked to stop; the message names the task,
    and type and place of its ``error``, None if it returned."""

    def __init__(self, name: str, error: BaseException | None) -> None:
        why = "it returned" if error is None else error_location(error, package="")
        super().__init__(
            f"the task {name} has ended ({why}), and this process does not run without it; start it again, "
            "nothing that was acknowledged is lost"
        )


class WatchedTasks:
    """An ``asyncio.TaskGroup`` in which no task ends unnoticed, not even by returning or by a
    ``CancelledError`` of its own.

    ``async with WatchedTasks() as tasks`` runs its block until a needed task ends. Then the block and all
    other tasks are cancelled, and the task's error is raised: a ``BridgeError`` as it is, anything else as
    ``TaskEnded``. An error of the block itself is raised as it is. Leaving the block cancels all tasks and
    waits for them: that is how a process stops.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    def need(self, name: str, work: Work, *, may_end: bool = False) -> asyncio.Task[None]:
        """Run ``work()`` as a task; the error has its ``name`` if it ends. ``cancel()`` of the returned task
        ends it without ending the process. ``may_end``: it may also return, as work that is done once, or is
        asked to finish."""
        task = self._group.create_task(self._watch(name, work, may_end), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            failed = error if error is not None and error in group.exceptions else group.exceptions[0]
        else:
            return
        raise failed

    async def _watch(self, name: str, work: Work, may_end: bool) -> None:
        try:
            await work()
        except BridgeError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and being_cancelled():
                raise
            log.error("task.ended", task=name, error=error_type(error), frames=error_frames(error))
            raise TaskEnded(name, error) from error
        if not may_end:
            raise TaskEnded(name, None)


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel ``tasks`` and wait until they have ended. Their errors are left to whoever watches them."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def first_ended(tasks: Collection[asyncio.Task[None]]) -> NoReturn:
    """Wait until one of ``tasks`` ends, which somebody else starts and cancels, and raise its error."""
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    raise_ended(ended.pop())


def raise_ended(task: asyncio.Task[Any]) -> NoReturn:
    """Raise the error of ``task``, which was not to end: a ``BridgeError`` as it is, anything else as
    ``TaskEnded``."""
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if isinstance(error, BridgeError):
        raise error
    raise TaskEnded(task.get_name(), error) from error


def being_cancelled() -> bool:
    """Whether somebody cancels the current task; else a ``CancelledError`` comes from within it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
