"""A company whose reads lag behind what has happened, on a clock that a test moves."""

import time
from copy import deepcopy
from typing import Any

from sqlalchemy import func, select

from dingbridge import Event
from dingbridge.consumers.address_sync.tables import entities, roles, users
from dingbridge.dingtalk.errors import NotFound
from dingbridge.mirror.entities import COMPANY
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.address_sync.company import Company, event


class Clock:
    """Epoch s, as a test says."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


class LateCompany(Company):
    """Reads of people, and the list of roles, show what was ``lag_s`` ago. Changes are made by ``hires``,
    ``edits``, ``leaves``, ``labels`` and ``grants``. Each returns the event that DingTalk would send."""

    def __init__(self, lag_s: float) -> None:
        super().__init__()
        self.clock, self.lag_s = Clock(), lag_s
        self._past: list[tuple[float, str, dict[str, Any] | None]] = []
        self._roles_past: list[tuple[float, dict[int, str]]] = []

    def hires(self, userid: str, **fields: Any) -> Any:
        self.hire(userid, **fields)
        return self._happened("user_add_org", userid)

    def edits(self, userid: str, **fields: Any) -> Any:
        self.users[userid] |= fields
        return self._happened("user_modify_org", userid)

    def leaves(self, userid: str) -> Any:
        del self.users[userid]
        return self._happened("user_leave_org", userid)

    def labels(self, role_id: int, name: str | None) -> Any:
        """The role is made, renamed, or (None) deleted: then nobody has it, of which no event tells."""
        what = "del" if name is None else "modify" if role_id in self.roles else "add"
        if name is not None:
            self.roles[role_id] = name
        else:
            del self.roles[role_id]
            for userid, user in self.users.items():
                held = user.get("role_list", [])
                user["role_list"] = [role for role in held if role["id"] != role_id]
                self._past.append((self.clock.now, userid, deepcopy(user)))
        self._roles_past.append((self.clock.now, dict(self.roles)))
        return event(f"label_conf_{what}", role_id, at_ms=int(self.clock.now * 1000))

    def grants(self, userid: str, *role_ids: int) -> Any:
        self.grant(userid, *role_ids)
        return self._happened("label_user_change", userid)

    async def role_groups(self) -> list[dict[str, Any]]:
        groups = await super().role_groups()
        shown: dict[int, str] = {}
        for at, names in self._roles_past:
            if at + self.lag_s <= self.clock.now:
                shown = names
        return [{**groups[0], "roles": [{"id": i, "name": name} for i, name in shown.items()]}]

    async def user(self, userid: str) -> dict[str, Any]:
        await super().user(userid) if userid in self.hidden else self._called("v2/user/get")
        shown = None
        for at, who, state in self._past:
            if who == userid and at + self.lag_s <= self.clock.now:
                shown = state
        if shown is None:
            raise NotFound("no such thing", api="v2/user/get", errcode=60121)
        return deepcopy(shown)

    def _happened(self, event_type: str, userid: str) -> Any:
        self._past.append((self.clock.now, userid, deepcopy(self.users.get(userid))))
        return event(event_type, userid, at_ms=int(self.clock.now * 1000))


class Life:
    """A consumer, its company, and the time."""

    def __init__(self, runtime: MemoryRuntime, company: LateCompany) -> None:
        self.runtime, self.company, self.clock = runtime, company, company.clock

    async def deliver(self, *events: Event) -> None:
        """Each event, and the read that it makes due."""
        for one in events:
            await self.deliver_together(one)

    async def deliver_together(self, *events: Event) -> None:
        """All events, and then the reads that they make due."""
        for one in events:
            outcome = await self.runtime.deliver(one)
            assert outcome.kind == "done", outcome
        await self.runtime.consumer.look_due()

    async def until(self, seconds: float) -> None:
        """Let so many pass, and whatever is due on the way be looked at."""
        end = self.clock.now + seconds
        while self.clock.now <= end and (due := await self.next_due()) is not None and due <= end:
            self.clock.now = max(due, self.clock.now)
            if not await self.runtime.consumer.look_due():  # a pause, since DingTalk does not work
                self.clock.now += 1
        self.clock.now = end

    async def all_until(self, came: list[tuple[float, int, Event]], end: float) -> None:
        """As ``until``, to the time ``end``; events of ``came`` (when each comes, its number) are delivered
        on the way."""
        while came and min(came)[0] <= end:
            at, _, one = came.pop(came.index(min(came)))
            await self.until(max(0, at - self.clock.now))
            await self.deliver(one)
        await self.until(max(0, end - self.clock.now))

    async def next_due(self) -> float | None:
        people = entities.c.kind != COMPANY
        [[due_ms]] = await self.runtime.rows(select(func.min(entities.c.due_ms)).where(people))
        return None if due_ms is None else due_ms / 1000

    async def person(self, userid: str) -> Any:
        rows = await self.runtime.rows(select(users).where(users.c.userid == userid))
        return rows[0] if rows else None

    async def roles(self) -> dict[int, str]:
        """The names of the roles that are not deleted, by id."""
        rows = await self.runtime.rows(select(roles).where(roles.c.deleted_at.is_(None)))
        return {row.role_id: row.name for row in rows}

    async def waiting(self) -> int:
        due = (entities.c.kind != COMPANY, entities.c.due_ms.is_not(None))
        return len(await self.runtime.rows(select(entities).where(*due)))

    @property
    def calls(self) -> int:
        return self.company.calls["v2/user/get"]
