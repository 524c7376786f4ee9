"""The tasks without which a process is no use: when one ends, the process ends, and says which.

What starts the process again (its supervisor) lets it begin from what is durable; a loop that died in silence
while ``/readyz`` says "ready" would be noticed too late.
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
    """An ``asyncio.TaskGroup`` in which no task ends unseen, also not by returning or by a ``CancelledError``
    of its own.

    ``async with WatchedTasks() as tasks`` runs its block until a needed task ends. Then the block and all
    other tasks are cancelled, and what that task failed with is raised: a ``BridgeError`` as it is, anything
    else as ``TaskEnded``. What the block itself raises is raised as it is. Leaving the block cancels all
    tasks and waits for them: that is how a process stops.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    def need(self, name: str, work: Work, *, may_end: bool = False) -> asyncio.Task[None]:
        """Run ``work()``, whose ``name`` an operator reads when it ends. ``cancel()`` of the returned task
        ends it without ending the process. With ``may_end`` it may return as well: what is done once, or is
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
    """Cancel those that run, and wait until they have ended. Their errors are for who watches them."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def first_ended(tasks: Collection[asyncio.Task[None]]) -> NoReturn:
    """For tasks that somebody else begins and cancels: waits until one of them ends, and raises what it
    failed with: a ``BridgeError`` as it is, anything else as ``TaskEnded``."""
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    task = ended.pop()
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if isinstance(error, BridgeError):
        raise error
    raise TaskEnded(task.get_name(), error) from error


def being_cancelled() -> bool:
    """Whether a ``CancelledError`` is meant for the task that runs, and does not come from within it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
