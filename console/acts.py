"""What operators do: each act once, whatever a browser sends twice; its result is kept for an hour.

A form leads here by the id of its act. The first POST begins it, and every POST leads to the page of its
result, so that a refresh, a double click or a second tab repeats nothing. All of it is in memory: after a
restart a form that was open is refused, and the audit has what was done.
"""

import asyncio
import re
import secrets
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
from aiohttp import web

from dingbridge.console.access.middleware import USER
from dingbridge.console.commands import Command, Commands, Result
from dingbridge.errors import BridgeError
from dingbridge.logging import place_of

log = structlog.get_logger(__name__)

KEPT_S: Final = 3600.0
MOST: Final = 30
"""Acts of one user that are kept, the latest ones; what runs is kept in any case."""
PATIENCE_S: Final = 20.0
"""For so long a POST waits for the end; then the page of the result shows that it still runs."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class Act:
    """What a person was shown, and may do once. ``name``: its words in ``words/acts.toml``; ``consumer``: its
    acts are done one after the other; ``back``: the page that it came from.

    An act that was counted first has ``counted``, the command, and ``until``, up to when. Any other has
    ``subject``, what it is about, and ``seen``, the state of that on the page.
    """

    name: str
    consumer: str
    command: Command
    back: str
    counted: Result | None = None
    until: str = ""
    subject: tuple[str, ...] = ()
    seen: str = ""


@dataclass(slots=True)
class Entry:
    """An act and how far it is: ``task`` is None until it begins. It ends with a ``result``, or with the
    ``problem`` for which nothing was done."""

    act: Act
    at: float
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    result: Result | None = None
    problem: Exception | None = None

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def may_have_acted(self) -> bool:
        """It runs, or ended well."""
        return self.running or (self.result is not None and self.result.ok)


class Acts:
    """The acts of each user, by id."""

    def __init__(self, commands: Commands, clock: Callable[[], float] = time.monotonic) -> None:
        self._commands, self._clock = commands, clock
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @staticmethod
    def new_id() -> str:
        """For a form that leads to an act."""
        return secrets.token_urlsafe(16)

    def keep(self, user: str, act: Act) -> str:
        """An act that ``user`` may begin; its id."""
        self._add(user, act_id := self.new_id(), act)
        return act_id

    def of(self, user: str, act_id: str) -> Entry:
        """Raises 404 for an act that is no longer known, or never was."""
        self._forget(user)
        if (entry := self._entries.get((user, act_id))) is None:
            raise web.HTTPNotFound(
                text="this is no longer known: it is over an hour ago, or the console was started again "
                "meanwhile. The audit has what was done"
            )
        return entry

    def begin(self, request: web.Request, act_id: str, act: Act | None = None) -> None:
        """Begin it, once. ``act`` is what is meant where the id is new: nothing was counted before. Raises
        404 for an id that is no longer known, 400 for one that is no id."""
        user = request[USER].name
        if act is not None and (user, act_id) not in self._entries:
            if not _ID.fullmatch(act_id):
                raise web.HTTPBadRequest(text="this form is none of ours; load its page again")
            self._add(user, act_id, act)
        entry = self.of(user, act_id)
        if entry.task is None:
            entry.at, entry.task = self._clock(), asyncio.create_task(self._run(request, entry))

    async def ended(self, user: str, act_id: str, within_s: float = PATIENCE_S) -> None:
        """Waits until it has ended, or ``within_s`` are over."""
        if (task := self.of(user, act_id).task) is not None:
            await asyncio.wait([task], timeout=within_s)

    def knows(self, user: str, act_id: str) -> bool:
        return (user, act_id) in self._entries

    def begun(self, subject: tuple[str, ...], seen: str) -> tuple[str, str] | None:
        """User and id of an act on ``subject`` by somebody who had ``seen`` the same; failed ones left
        out."""
        for key, entry in self._entries.items():
            if (entry.act.subject, entry.act.seen) == (subject, seen) and entry.may_have_acted:
                return key
        return None

    async def stop(self) -> None:
        """Ends what runs, with an entry in the audit."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, request: web.Request, entry: Entry) -> None:
        async with self._turns[entry.act.consumer]:
            try:
                entry.result = await self._commands.run(request, entry.act.command)
            except BridgeError as error:
                entry.problem = error
            except Exception as error:
                log.error("console.fault", error=type(error).__name__, place=place_of(error))
                entry.problem = error

    def _add(self, user: str, act_id: str, act: Act) -> None:
        self._entries[user, act_id] = Entry(act, self._clock())
        self._forget(user)

    def _forget(self, user: str) -> None:
        too_old = self._clock() - KEPT_S
        quiet = [(key, entry) for key, entry in self._entries.items() if not entry.running]
        own = [key for key, _ in quiet if key[0] == user]
        for key in {*(key for key, entry in quiet if entry.at < too_old), *own[:-MOST]}:
            del self._entries[key]
