"""A company whose reads lag behind what has happened, on a clock that a test moves."""

import time
from copy import deepcopy
from typing import Any

from dingbridge.dingtalk.errors import NotFound
from tests.unit.address_sync.company import Company, event


class Clock:
    """Epoch s, as a test says."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


class LateCompany(Company):
    """Reads of people show what was ``lag_s`` ago. Changes are made by ``hires``, ``edits`` and ``leaves``,
    each of which returns the event that DingTalk would send."""

    def __init__(self, lag_s: float) -> None:
        super().__init__()
        self.clock, self.lag_s = Clock(), lag_s
        self._past: list[tuple[float, str, dict[str, Any] | None]] = []

    def hires(self, userid: str, **fields: Any) -> Any:
        self.hire(userid, **fields)
        return self._happened("user_add_org", userid)

    def edits(self, userid: str, **fields: Any) -> Any:
        self.users[userid] |= fields
        return self._happened("user_modify_org", userid)

    def leaves(self, userid: str) -> Any:
        del self.users[userid]
        return self._happened("user_leave_org", userid)

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
