"""What a handler may need beside its event: the context that ``prepare`` is given, and ``tx.ctx`` is."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Executable
from sqlalchemy.engine import Result
from sqlalchemy.ext.asyncio import AsyncConnection

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.event import Event


class Reader:
    """Short reads, each on a connection of its own that is given back at once: no transaction stays open
    while ``prepare`` waits for the network. A write through it is refused by the database."""

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        within_s: float | None = None,
    ) -> None:
        """``connect`` lends a connection for one statement; ``within_s`` is the time limit of each, in s."""
        self._connect, self._within_s = connect, within_s

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Result[Any]:
        """Run one reading statement; all rows are in memory when it returns.

        Raises ``DatabaseDown``, or SQLAlchemy's error for a statement that is wrong.
        """
        async with self._connect() as connection, asyncio.timeout(self._within_s):
            result = await connection.execute(statement, parameters)
            return result.freeze()()

    async def scalar(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """First column of the first row, None if there is no row."""
        return (await self.execute(statement, parameters)).scalar()


class Position(NamedTuple):
    """Where in Kafka a record stands. Of a replayed record that is the consumer's inbox topic."""

    topic: str
    partition: int
    offset: int


NOWHERE = Position("", -1, -1)
"""The position of an event that came from no topic, as in a test in memory."""


@dataclass(frozen=True, slots=True)
class Context:
    """What belongs to one attempt at one event, or at several that are handled together."""

    db: Reader
    """Short reads of the consumer's database; no transaction stays open between them."""

    client: Callable[[], DingTalkClient] = field(repr=False)
    """Gives ``dingtalk``; called when that is asked for, since many handlers never do."""

    attempt: int = 1
    """1 at the first try of this event, one more after each ``Retry``, in whichever process."""

    position: Position = NOWHERE
    """Topic, partition and offset of the record."""

    replay_id: str = ""
    """Of a record that was replayed; empty for an ordinary one."""

    together: tuple[Event, ...] = ()
    """The events that are handled by this one call, oldest first, each once; the handler's own is the last.
    More than one only where ``Consumer.fetches`` gives them the same value."""

    asked: set[str] = field(default_factory=set, repr=False)
    """The systems that this attempt has asked: ``dingtalk``, and those of ``asks``."""

    def asks(self, system: str) -> None:
        """Name the dependency that the handler is about to call (any name).

        While ``system`` does not answer, only another event that called it successfully shows that it works.
        Without this call, any handled event does.
        """
        self.asked.add(system)

    @property
    def dingtalk(self) -> DingTalkClient:
        """The Open API client of the event's app.

        Raises ``SettingsError`` without credentials, and ``Reject`` for an event of an app whose credentials
        this process does not have.
        """
        self.asks("dingtalk")
        return self.client()
