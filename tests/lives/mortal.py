"""A process that can die between any two of its effects: a statement, a request, a record.

Dead, it does nothing any more that others could see: what it asks for is not done and never answered. Its
tasks are cancelled afterwards, so that no ``finally`` of theirs can do what a killed process cannot.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

_current: ContextVar["Mortal | None"] = ContextVar("mortal", default=None)


def living() -> "Mortal | None":
    """The process whose task runs; None outside of any."""
    return _current.get()


class Mortal:
    """``crash_in``: it dies at its so-manieth effect from then on. ``latency_s`` is how long one takes."""

    def __init__(self, name: str, rng: Random) -> None:
        self.name, self._rng = name, rng
        self.alive = True
        self.effects = 0
        self.crash_in: int | None = None
        self.connector: Callable[[], Any] | None = None
        self.on_death: list[Callable[[], None]] = []
        self.died = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        self._open: list[asyncio.Future[Any]] = []
        self._released = False

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of this process; those that it makes are its own, too."""
        context = copy_context()
        context.run(_current.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def latency_s(self) -> float:
        return self._rng.random() * 0.004

    def effect(self) -> None:
        """One is asked for."""
        self.effects += 1
        if self.crash_in is not None and self.alive:
            self.crash_in -= 1
            if self.crash_in <= 0:
                self.kill()

    async def answered(self) -> None:
        """Returns when an effect may go on; never in a dead process."""
        self.effect()
        if self.alive:
            await asyncio.sleep(self.latency_s())
        if not self.alive:
            never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.leave_open(never)
            await never

    def kill(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self.died.set()
        for end in self.on_death:
            end()
        self.on_death.clear()
        asyncio.get_running_loop().call_soon(self._bury)

    def leave_open(self, answer: asyncio.Future[Any] | None) -> None:
        """Nobody will answer this."""
        if answer is not None:
            self._open.append(answer)
            if self._released:
                self._answer_all()

    async def release(self) -> None:
        """The life is over: let what hangs in the dead process end."""
        self._released = True
        while self.tasks:
            self._answer_all()
            self._bury()
            await asyncio.wait([*self.tasks], timeout=1)

    def _answer_all(self) -> None:
        for answer in self._open:
            if not answer.done():
                answer.set_result(None)
        self._open.clear()

    def _bury(self) -> None:
        for task in [*self.tasks]:
            task.cancel()


def making_tasks(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: Context | None = None
) -> asyncio.Task[Any]:
    """The loop's task factory: each process knows its tasks."""
    owner = living() if context is None else context.get(_current)
    task = asyncio.Task(work, loop=loop, context=context)
    if owner is not None:
        owner.tasks.add(task)
        task.add_done_callback(owner.tasks.discard)
    return task
