"""What a run has to do, one entry after another: one that fails waits, and the others go on.

A refusal of one person, department or role concerns that entity alone; so does a failure while the same call
works for another entity. If it lasts, the run gives the entity up: its rows stay, and the run's result names
it (``unread``). All other failures are raised: what was done is kept, and the run goes on later. The rule is
in ``dingbridge/availability.py``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sqlalchemy import Row, Text, cast, exists, func, select

from dingbridge import Reader
from dingbridge.availability import Availability, own_delay_s
from dingbridge.consumers.address_sync.sync.runs import Entry, Run, Runs, Unread
from dingbridge.consumers.address_sync.sync.tables import staged, todo
from dingbridge.consumers.address_sync.tables import departments, users
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import ApiError
from dingbridge.snapshots.coerce import as_json
from dingbridge.throttle import Throttle

GIVEN_UP_AFTER_S: Final = 60.0
"""How long an entity's own failures last, in s, until the run goes on without it. Nothing is lost by it, and
the run's end waits for it, so it is sooner than elsewhere."""

NAMED: Final = 100
"""How many of each kind are named of those that could not be read; all are counted."""

_NAP_S: Final = 1.0

_KINDS: Final = {
    **dict.fromkeys(("tree", "department", "members", "members_again"), "department"),
    **dict.fromkeys(("fetch_department", "gone_department"), "department"),
    **dict.fromkeys(("person", "fetch", "gone"), "user"),
    **dict.fromkeys(("role", "role_again"), "role"),
}
"""By step, of what kind its entities are. Without the other steps there is no run."""

UNREAD: Final = {"user": "unread_user", "department": "unread_department", "role": "unread_role"}
"""The kinds of ``staged`` of what could not be read: the document is DingTalk's code."""

_WORDS: Final = {"unread_user": "people", "unread_department": "departments", "unread_role": "roles"}

Progress = Callable[[int, int], None]
"""Called with the steps that are done and those that are known."""

Step = Callable[[Entry], Awaitable[float | None]]
"""Does an entry; returns when to do it again instead (epoch s), or None."""


class CallMeter:
    """Counts the calls of ``run``, and spaces them out."""

    def __init__(self, run: Run, throttle: Throttle) -> None:
        self._run, self._throttle = run, throttle

    async def call(self, count: int = 1) -> None:
        """Await this before a call (or after ``count`` calls that could not be foreseen)."""
        self._run.calls += count
        await self._throttle.turn(count)


class Worklist:
    """The entries of one run. ``known`` counts those that are known. ``clock`` gives epoch s."""

    def __init__(
        self,
        runs: Runs,
        run: Run,
        client: DingTalkClient,
        meter: CallMeter,
        progress: Progress,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._runs, self._run, self._client, self._meter = runs, run, client, meter
        self._progress, self.now, self._sleep = progress, clock, sleep
        self._availability = Availability()
        self.known = 0

    async def work(self, steps: Mapping[str, Step], in_time: Callable[[], bool], last: str = "") -> bool:
        """Do what is on the list for ``steps``, in their order and ``last`` when nothing else is left, while
        ``in_time()``; returns whether all is done. Raises ``ApiError``: call it again, it goes on."""
        done, self.known = 0, await self._runs.left(self._run)
        while (row := await self._runs.next_todo(self._run, steps, self._now_ms(), last)) is not None:
            if (wait_ms := row.due_ms - self._now_ms()) > 0:
                await self._sleep(min(wait_ms / 1000, _NAP_S))
            else:
                entry = (row.step, row.entity_id)
                try:
                    again_at = await steps[row.step](entry)
                    self._availability.worked(self.now())
                    if again_at is not None:
                        await self._runs.put_back(self._run, row, due_ms=round(again_at * 1000))
                except ApiError as error:
                    await self._failed(row, error)
                done += 1
                self._progress(done, max(done, self.known))
            if not in_time():
                return False
        return True

    def _now_ms(self) -> int:
        return round(self.now() * 1000)

    async def _failed(self, row: Row[Any], error: ApiError) -> None:
        if error.about not in ("entity", "api", "busy") or row.step not in _KINDS:
            raise error
        if error.about == "entity":
            await self._give_up(row, error)
            return
        before = None if row.failed_ms is None else row.failed_ms / 1000
        own = self._availability.failed(before, self.now())
        if not own and (before is not None or self._availability.is_down):
            if not await self._another_works(row):
                await self._runs.put_back(self._run, row, failed_ms=self._now_ms(), due_ms=self._now_ms())
                raise error
            self._availability.worked(self.now())
            own = before is not None
        now_ms, since_ms = self._now_ms(), row.failing_since_ms
        if own and since_ms is not None and now_ms - since_ms >= GIVEN_UP_AFTER_S * 1000:
            await self._give_up(row, error)
            return
        failures = row.failures + own
        await self._runs.put_back(
            self._run,
            row,
            failures=failures,
            failed_ms=now_ms,
            failing_since_ms=since_ms or (now_ms if own else None),
            due_ms=now_ms + round(own_delay_s(max(failures, 1)) * 1000),
        )

    async def _give_up(self, row: Row[Any], error: ApiError) -> None:
        kind, code = UNREAD[_KINDS[row.step]], error.code or type(error).__name__
        async with self._runs.database.transaction() as tx:
            await self._runs.save(tx, self._run)
            await self._runs.done_todo(tx, self._run, (row.step, row.entity_id))
            await self._runs.stage(tx, self._run, kind, {row.entity_id: (0, as_json(code))})

    async def _another_works(self, row: Row[Any]) -> bool:
        """Whether the call that failed for ``row`` works for another entity that has been read. Refusals of
        one entity are answers, too."""
        another = await self._runs.reader.scalar(_another(self._run, _KINDS[row.step], row.entity_id))
        if another is None:
            return False
        await self._meter.call()
        try:
            await self._ask(row.step, str(another))
        except ApiError as error:
            return error.about == "entity"
        return True

    async def _ask(self, step: str, entity_id: str) -> None:
        client, kind = self._client, _KINDS[step]
        if kind == "user":
            await client.user(entity_id)
        elif step == "tree":
            await client.sub_departments(int(entity_id))
        elif kind == "department" and not step.startswith("members"):
            await client.department(int(entity_id))
        else:
            listing = client.role_users if kind == "role" else client.department_users
            async for _ in listing(int(entity_id)):
                break


def _another(run: Run, kind: str, entity_id: str) -> Any:
    """The id of one that was read and is not to be done again."""
    if run.state == "reading" or kind == "role":
        column: Any = staged.c.entity_id
        where: tuple[Any, ...] = (staged.c.run_id == run.run_id, staged.c.kind == kind)
    elif kind == "user":
        column, where = users.c.userid, (users.c.corp_id == run.corp_id, users.c.left_at.is_(None))
    else:
        column = departments.c.dept_id
        where = (departments.c.corp_id == run.corp_id, departments.c.deleted_at.is_(None))
    failing = select(todo.c.entity_id).where(todo.c.run_id == run.run_id, todo.c.failed_ms.is_not(None))
    unread = staged.alias()
    given_up = select(unread.c.entity_id).where(unread.c.run_id == run.run_id, unread.c.kind == UNREAD[kind])
    an_id = cast(column, Text)
    return select(column).where(*where, an_id != entity_id, an_id.not_in(failing.union(given_up))).limit(1)


async def unread(reader: Reader, run: Run) -> Unread:
    """What could not be read, before the run's end."""
    found: Unread = {}
    for kind, words in _WORDS.items():
        of_kind = (staged.c.run_id == run.run_id, staged.c.kind == kind)
        count = int(await reader.scalar(select(func.count()).select_from(staged).where(*of_kind)))
        if count:
            ids = select(staged.c.entity_id, staged.c.document).where(*of_kind)
            rows = await reader.execute(ids.order_by(staged.c.entity_id).limit(NAMED))
            found[words] = {"count": count, "ids": {row.entity_id: row.document.strip('"') for row in rows}}
    return found


async def any_unread(reader: Reader, run: Run) -> bool:
    of_run = (staged.c.run_id == run.run_id, staged.c.kind.in_(UNREAD.values()))
    return bool(await reader.scalar(select(exists().where(*of_run))))
