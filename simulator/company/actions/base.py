"""What all actions share: the company, its time, and how its events are shaped."""

from collections.abc import Callable
from typing import Final, NamedTuple

from dingbridge.simulator.call import Answer
from dingbridge.simulator.company.approvals import Approvals
from dingbridge.simulator.company.company import Company
from dingbridge.simulator.company.events import EventShaper, PlatformEvent

_MOST_IDS: Final = 20
"""Ids in one contact event at most; more become several events."""


class Written(NamedTuple):
    """What a call of the Open API that writes has done: its answer, the events that follow, what was written
    (userid, dept_id, instance or task), and whether that is another than before."""

    answer: Answer
    events: list[PlatformEvent]
    subject: str | int
    changed: bool = True


class Actions:
    """``now`` gives strictly increasing ms: two changes of one thing never carry the same time."""

    def __init__(
        self, company: Company, approvals: Approvals, shape: EventShaper, now: Callable[[], int]
    ) -> None:
        self._company = company
        self._approvals = approvals
        self._shape = shape
        self._now = now
        self._rng = company.rng

    def _users(self, event_type: str, userids: list[str], at_ms: int) -> list[PlatformEvent]:
        operator = self._operator()
        return [
            self._shape.contact(event_type, at_ms, users=userids[i : i + _MOST_IDS], operator=operator)
            for i in range(0, len(userids), _MOST_IDS)
        ]

    def _succession(self, departments: list[int], colleagues: list[str]) -> list[PlatformEvent]:
        events = []
        if departments:
            events.append(self._shape.contact("org_dept_modify", self._now(), departments=departments))
        if colleagues:
            events += self._users("user_modify_org", colleagues, self._now())
        return events

    def _hand_over(self, userid: str) -> list[PlatformEvent]:
        """Somebody left: his open tasks go to colleagues."""
        at_ms = self._now()
        events: list[PlatformEvent] = []
        for approval, old, new in self._approvals.hand_over(userid, at_ms):
            events.append(self._shape.task(approval, old, "finish", at_ms))
            events.append(self._shape.task(approval, new, "start", at_ms))
        return events

    def _operator(self) -> str:
        return next(iter(self._company.users), "")
