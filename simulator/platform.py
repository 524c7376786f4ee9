"""The life of the invented company: each action changes the state and yields the events that announce it.

Pure: no I/O, and time only through ``clock``. Everything that the Open API would show differently after an
action is named by one of its events, so that a receiver who looks after each event ends with the same state.
"""

import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Literal

from simulator.approvals import Approval, Approvals
from simulator.company import ROOT, Company
from simulator.errors import ActionError
from simulator.events import EventShaper, PlatformEvent

ARGUMENTS: Final[Mapping[str, Mapping[str, type]]] = {
    "hire": {"count": int, "name": str, "dept_ids": list, "follow_up": bool},
    "move": {"userid": str, "dept_ids": list},
    "rename": {"userid": str, "name": str},
    "leave": {"userid": str, "count": int},
    "create_department": {"name": str, "parent_id": int},
    "rename_department": {"dept_id": int, "name": str},
    "remove_department": {"dept_id": int},
    "start_approval": {"process_code": str, "userid": str},
    "approve": {"process_instance_id": str, "remark": str, "one_step": bool, "instance_first": bool},
    "refuse": {"process_instance_id": str, "remark": str, "instance_first": bool},
    "revoke": {"process_instance_id": str},
}
"""Every action with its arguments, all optional: what is not given is chosen at random. ``dept_ids`` is a
list of ints or a comma list."""

_REMARKS: Final = ("", "同意", "好的", "请注意交接")
_MOST_IDS: Final = 20
"""Ids in one contact event at most; more become several events."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Platform:
    """A company, its approvals, and what can happen to them.

    ``seed`` fixes the company and, with the same actions at the same times, its whole life. ``generation``:
    the form of the payloads, ``old``, ``new`` or ``mixed`` by event.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        users: int = 60,
        departments: int = 12,
        corp_id: str = "dingcorpsample01",
        generation: Literal["old", "new", "mixed"] = "mixed",
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.corp_id = corp_id
        self.company = Company(seed=seed, users=users, departments=departments)
        self.approvals = Approvals(self.company)
        self._size = (max(users, 3), max(departments, 2))
        self._clock = clock
        self._last_ms = 0
        self._rng = self.company.rng
        # of its own, so that the company's life does not depend on how it is announced
        self._shape = EventShaper(corp_id, generation, Random(seed))  # noqa: S311
        self._actions: dict[str, Callable[..., list[PlatformEvent]]] = {
            name: getattr(self, f"_{name}") for name in ARGUMENTS
        }
        for _ in range(users // 10):
            self._start_approval()

    def _now(self) -> int:
        """Strictly increasing ms: two changes of one thing never carry the same time."""
        self._last_ms = max(self._clock(), self._last_ms + 1)
        return self._last_ms

    def now_ms(self) -> int:
        """The company's time: the clock's, but never before something that has happened."""
        return max(self._clock(), self._last_ms)

    def act(self, action: str, arguments: Mapping[str, Any] | None = None) -> list[PlatformEvent]:
        """Do one of ``ARGUMENTS``; the events in the order in which they are pushed.

        Raises ``ActionError`` for an unknown action or argument, or one that cannot be done; nothing has
        changed then.
        """
        known = ARGUMENTS.get(action)
        if known is None:
            raise ActionError(f"no such action: {action}; there are {', '.join(ARGUMENTS)}")
        given = {}
        for name, value in (arguments or {}).items():
            if name not in known:
                raise ActionError(f"{action} takes no {name}; it takes {', '.join(known)}")
            if value is not None:
                given[name] = _convert(name, value, known[name])
        return self._actions[action](**given)

    def act_at_random(self) -> list[PlatformEvent]:
        """Something that happens in a company of a steady size."""
        company, running = self.company, len(self.approvals.running)
        if not company.users:
            return self.act("hire")
        if len(company.departments) == 1:
            return self.act("create_department")
        users, departments = self._size
        crowd = len(company.users) / users
        tree = (len(company.departments) - 1) / departments
        weights = {
            "hire": 3.0 if crowd < 1.3 else 0.5,
            "leave": 0.0 if crowd < 0.5 else 1.5 if crowd < 1.3 else 4.0,
            "move": 3.0,
            "rename": 1.5,
            "create_department": 0.7 if tree < 1.5 else 0.1,
            "rename_department": 0.7,
            "remove_department": 0.0 if tree < 0.6 else 0.3 if tree < 1.5 else 1.0,
            "start_approval": 6.0 if running < users else 0.5,
            "approve": 4.0 if running else 0.0,
            "refuse": 1.0 if running else 0.0,
            "revoke": 0.7 if running else 0.0,
        }
        action = self._rng.choices(list(weights), list(weights.values()))[0]
        return self.act(action)

    # People

    def _hire(
        self,
        count: int | None = None,
        name: str | None = None,
        dept_ids: list[int] | None = None,
        follow_up: bool | None = None,
    ) -> list[PlatformEvent]:
        rng = self._rng
        if count is None:
            count = rng.randrange(2, 6) if name is None and rng.random() < 0.1 else 1
        if not 1 <= count <= 1000:
            raise ActionError("count must be 1 to 1000")
        if follow_up is None:
            follow_up = rng.random() < 0.6
        at_ms = self._now()
        midnight = at_ms - (at_ms + 8 * 3_600_000) % 86_400_000
        hired = [
            self.company.hire(hired_ms=midnight, name=name, dept_ids=dept_ids).userid for _ in range(count)
        ]
        events = self._users("user_add_org", hired, at_ms)
        if follow_up:
            # observed at DingTalk: who is added is modified at once
            events += self._users("user_modify_org", hired, self._now())
        return events

    def _move(self, userid: str | None = None, dept_ids: list[int] | None = None) -> list[PlatformEvent]:
        userid = userid or self.company.pick_user().userid
        user, departments, colleagues = self.company.move(userid, dept_ids)
        events = self._users("user_modify_org", [user.userid], self._now())
        return events + self._succession(departments, colleagues)

    def _rename(self, userid: str | None = None, name: str | None = None) -> list[PlatformEvent]:
        if name is not None and not name.strip():
            raise ActionError("name must not be empty")
        user, before = self.company.rename(userid or self.company.pick_user().userid, name)
        same = {"jobNumber": user.job_number, "email": user.email}
        diff = ({"name": before} | same, {"name": user.name} | same)
        at_ms = self._now()
        return [
            self._shape.contact(
                "user_modify_org", at_ms, users=[user.userid], operator=self._operator(), diff=diff
            )
        ]

    def _leave(self, userid: str | None = None, count: int | None = None) -> list[PlatformEvent]:
        if userid is not None and count is not None:
            raise ActionError("leave takes userid or count, not both")
        if count is not None and not 1 <= count <= len(self.company.users):
            raise ActionError(f"count must be 1 to {len(self.company.users)}, the people there are")
        gone: list[str] = []
        later: list[PlatformEvent] = []
        departments: dict[int, None] = {}
        colleagues: dict[str, None] = {}
        at_ms = self._now()
        for _ in range(count or 1):
            leaver = userid or self.company.pick_user().userid
            self.company.user(leaver)
            self.company.roles.forget(leaver)
            lost, changed = self.company.leave(leaver)
            gone.append(leaver)
            departments |= dict.fromkeys(lost)
            colleagues |= dict.fromkeys(changed)
            for approval, old, new in self.approvals.hand_over(leaver, self._now()):
                later.append(self._shape.task(approval, old, "finish", self._last_ms))
                later.append(self._shape.task(approval, new, "start", self._last_ms))
        stay = [u for u in colleagues if u in self.company.users]
        return self._users("user_leave_org", gone, at_ms) + self._succession(list(departments), stay) + later

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

    def _operator(self) -> str:
        return next(iter(self.company.users), "")

    # Departments

    def _create_department(
        self, name: str | None = None, parent_id: int | None = None
    ) -> list[PlatformEvent]:
        dept = self.company.create_department(name=name, parent=parent_id)
        return [self._shape.contact("org_dept_create", self._now(), departments=[dept.dept_id])]

    def _rename_department(self, dept_id: int | None = None, name: str | None = None) -> list[PlatformEvent]:
        if dept_id is None:
            dept_id = self.company.pick_department().dept_id
        self.company.rename_department(dept_id, name)
        # observed at DingTalk: a change of the company itself is announced before that of department 1
        events = [self._shape.contact("org_change", self._now())] if dept_id == ROOT else []
        return [*events, self._shape.contact("org_dept_modify", self._now(), departments=[dept_id])]

    def _remove_department(self, dept_id: int | None = None) -> list[PlatformEvent]:
        if dept_id is None:
            dept_id = self.company.pick_department().dept_id
        removed, moved = self.company.remove_department(dept_id)
        at_ms = self._now()
        # a cascade is announced at once, with all the ids
        events = [
            self._shape.contact("org_dept_remove", at_ms, departments=removed, operator=self._operator())
        ]
        return events + (self._users("user_modify_org", moved, self._now()) if moved else [])

    # Approvals

    def _start_approval(
        self, process_code: str | None = None, userid: str | None = None
    ) -> list[PlatformEvent]:
        originator = self.company.pick_user() if userid is None else self.company.user(userid)
        at_ms = self._now()
        approval = self.approvals.start(at_ms, process_code=process_code, originator=originator)
        started = [self._shape.task(approval, task, "start", at_ms) for task in approval.open_tasks()]
        return [self._shape.instance(approval, "start", at_ms), *started]

    def _approve(
        self,
        process_instance_id: str | None = None,
        remark: str | None = None,
        one_step: bool = False,
        instance_first: bool | None = None,
    ) -> list[PlatformEvent]:
        approval = self.approvals.pick(process_instance_id)
        events = self._decide(approval, True, remark, instance_first)
        while approval.status == "RUNNING" and not one_step:
            events += self._decide(approval, True, remark, instance_first)
        return events

    def _refuse(
        self,
        process_instance_id: str | None = None,
        remark: str | None = None,
        instance_first: bool | None = None,
    ) -> list[PlatformEvent]:
        return self._decide(self.approvals.pick(process_instance_id), False, remark, instance_first)

    def _decide(
        self, approval: Approval, agree: bool, remark: str | None, instance_first: bool | None
    ) -> list[PlatformEvent]:
        if remark is None:
            remark = self._rng.choice(_REMARKS) if agree else "不同意，请补充材料"
        if instance_first is None:
            instance_first = self._rng.random() < 0.2
        at_ms = self._now()
        task, cancelled, opened = self.approvals.decide(approval, at_ms, agree, remark)
        events = [self._shape.task(approval, task, "finish", at_ms, remark)]
        events += [self._shape.task(approval, other, "cancel", at_ms) for other in cancelled]
        events += [self._shape.task(approval, new, "start", at_ms) for new in opened]
        if approval.status != "RUNNING":
            end = self._shape.instance(approval, "finish", at_ms)
            # observed at DingTalk: the instance's end may be pushed before its last task's
            events.insert(0 if instance_first else len(events), end)
        return events

    def _revoke(self, process_instance_id: str | None = None) -> list[PlatformEvent]:
        approval = self.approvals.pick(process_instance_id)
        at_ms = self._now()
        cancelled = self.approvals.revoke(approval, at_ms)
        events = [self._shape.task(approval, task, "cancel", at_ms) for task in cancelled]
        return [*events, self._shape.instance(approval, "terminate", at_ms)]


def _convert(name: str, value: Any, wanted: type) -> Any:
    """An argument as it comes from JSON, or as text from a command line. Raises ``ActionError``."""
    try:
        if wanted is list:
            parts = value.split(",") if isinstance(value, str) else value
            return [int(part) for part in (parts if isinstance(parts, list) else [parts])]
        if wanted is bool and isinstance(value, str):
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        if wanted is str and not isinstance(value, str):
            raise TypeError
        return wanted(value)
    except (TypeError, ValueError, KeyError):
        what = {list: "a list of numbers", bool: "true or false", int: "a number", str: "a text"}[wanted]
        raise ActionError(f"{name} must be {what}") from None
