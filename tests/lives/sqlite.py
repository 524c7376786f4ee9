"""SQLite without threads: what aiosqlite would give to its thread runs in the loop, a moment later.

So nothing runs beside the loop, its time may jump, and a seed decides which of two operations is first. What
a killed process has asked for and not got is not done, and it never gets an answer.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import aiosqlite
import pytest
from aiosqlite.core import _STOP_RUNNING_SENTINEL

from tests.lives.mortal import Mortal, living


class _NoThread:
    daemon = True

    def start(self) -> None: ...


class _InLoop:
    """Stands where the queue of the connection's thread stands."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection, self._owner = connection, living()
        self._latest = 0.0
        if self._owner is not None:
            self._owner.on_death.append(self._end)

    def put_nowait(self, wanted: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        owner, loop = self._owner, asyncio.get_running_loop()
        if owner is None:
            loop.call_soon(self._run, owner, *wanted)
            return
        owner.effect()
        if not owner.alive:
            owner.leave_open(wanted[0])
        else:
            # in their order, whatever each takes
            self._latest = max(loop.time() + owner.latency_s(), self._latest + 1e-6)
            loop.call_at(self._latest, self._run, owner, *wanted)

    def _run(self, owner: Mortal | None, future: asyncio.Future[Any] | None, function: Any) -> None:
        if owner is not None and not owner.alive:
            owner.leave_open(future)
            return
        try:
            result = function()
        except BaseException as error:
            if future is not None and not future.done():
                future.set_exception(error)
            return
        if future is not None and not future.done():
            future.set_result(result)
        if result is _STOP_RUNNING_SENTINEL and owner is not None and self._end in owner.on_death:
            owner.on_death.remove(self._end)

    def _end(self) -> None:
        """The process is gone: what it had begun is rolled back, as the operating system would have it."""
        if (raw := self._connection._connection) is not None:
            self._connection._connection = None
            if raw.in_transaction:  # a statement that was not read to its end would keep it open
                raw.execute("ROLLBACK")
            raw.close()


def without_threads(patch: pytest.MonkeyPatch) -> None:
    """Until ``patch`` is undone, every aiosqlite connection is one of the loop's."""
    begin = aiosqlite.Connection.__init__

    def in_loop(self: aiosqlite.Connection, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self._thread = _NoThread()  # type: ignore[assignment]
        self._tx = _InLoop(self)  # type: ignore[assignment]

    patch.setattr(aiosqlite.Connection, "__init__", in_loop)


@pytest.fixture(autouse=True, scope="package")
def sqlite_in_the_loop() -> Iterator[None]:
    """For a conftest to import. Threads would take a quarter of the time of its tests."""
    with pytest.MonkeyPatch.context() as patch:
        without_threads(patch)
        yield
