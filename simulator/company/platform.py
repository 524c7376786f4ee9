"""The life of the invented company: each action changes the state and yields the events that announce it.

Pure: no I/O, and time only through ``clock``. Everything that the Open API would show differently after an
action is named by one of its events, so that a receiver who looks after each event ends with the same state;
but an approval that another one changes or takes back is named by that one's ``mainProcessInstanceId`` only.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import Random
from typing import Any, Final, Literal

from dingbridge.simulator.call import Call
from dingbridge.simulator.company.actions.approval_writes import ApprovalWrites
from dingbridge.simulator.company.actions.base import Written
from dingbridge.simulator.company.actions.contact_writes import ContactWrites
from dingbridge.simulator.company.actions.contacts import ContactActions
from dingbridge.simulator.company.actions.roles import RoleActions
from dingbridge.simulator.company.approvals import Approvals
from dingbridge.simulator.company.company import Company
from dingbridge.simulator.company.events import EventShaper, PlatformEvent
from dingbridge.simulator.company.past import PastApprovals
from dingbridge.simulator.company.todos import Todos
from dingbridge.simulator.errors import ActionError, PlatformError
from dingbridge.simulator.recording import RecordedStep

ARGUMENTS: Final[Mapping[str, Mapping[str, type]]] = {
    "hire": {"count": int, "name": str, "dept_ids": list, "follow_up": bool},
    "move": {"userid": str, "dept_ids": list},
    "rename": {"userid": str, "name": str},
    "edit": dict.fromkeys(
        ("userid", "title", "mobile", "email", "telephone", "job_number", "work_place", "remark"), str
    ),
    "report_to": {"userid": str, "manager": str},
    "leave": {"userid": str, "count": int},
    "come_back": {"userid": str},
    "protect": {"mobile": str},
    "accept": {"mobile": str},
    "create_department": {"name": str, "parent_id": int},
    "rename_department": {"dept_id": int, "name": str},
    "move_department": {"dept_id": int, "parent_id": int},
    "lead": {"dept_id": int, "userid": str},
    "remove_department": {"dept_id": int},
    "create_role": {"name": str, "group_id": int},
    "rename_role": {"role_id": int, "name": str},
    "remove_role": {"role_id": int},
    "give_role": {"role_id": int, "userid": str},
    "take_role": {"role_id": int, "userid": str},
    "appoint_admin": {"userid": str},
    "dismiss_admin": {"userid": str},
    "start_approval": {"process_code": str, "userid": str},
    "approve": {"process_instance_id": str, "remark": str, "one_step": bool, "instance_first": bool},
    "refuse": {"process_instance_id": str, "remark": str, "instance_first": bool},
    "redirect": {"process_instance_id": str, "userid": str},
    "comment": {
        **dict.fromkeys(("process_instance_id", "userid", "text", "file_name"), str),
        "file_size": int,
    },
    "revoke": {"process_instance_id": str},
    "modify_approved": {"process_instance_id": str},
    "revoke_approved": {"process_instance_id": str},
    "delete_approval": {"process_instance_id": str},
}
"""Every action with its arguments, all optional but the mobile to ``protect``: what is not given is chosen at
random. ``dept_ids`` is a list of ints or a comma list."""

_MOST_RUNNING: Final = 1_000
"""Approvals that are under way at the beginning; of a smaller company one for ten people."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Platform:
    """A company, its approvals, and what can happen to them.

    ``seed`` fixes the company and, with the same actions at the same times, its whole life. ``generation``:
    the form of the payloads, ``old``, ``new`` or ``mixed`` by event. ``shape`` makes the events. ``began_ms``
    is when it began, ``at_ms`` what the clock said at the last action (epoch ms). ``past`` are
    ``past_approvals`` that were over by then. ``on_step`` is called with each step of its life and the events
    of it, after it.
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
        past_approvals: int = 0,
    ) -> None:
        self.corp_id = corp_id
        self.company = Company(seed=seed, users=users, departments=departments)
        self.approvals = Approvals(self.company, corp_id)
        self._size = (max(users, 3), max(departments, 2))
        self._clock = clock
        self.on_step: Callable[[RecordedStep, list[PlatformEvent]], None] = lambda step, events: None
        self._last_ms = 0
        self._rng = self.company.rng
        # of its own, so that the company's life does not depend on how it is announced
        self.shape = EventShaper(corp_id, generation, Random(seed))  # noqa: S311
        parts = (self.company, self.approvals, self.shape, self._now)
        self.contact_writes, approvals = ContactWrites(*parts), ApprovalWrites(*parts)
        self.todos = Todos(self.company, self.now_ms)
        self.writes = self.contact_writes.calls() | approvals.calls() | self.todos.calls()
        families = (ContactActions(*parts), RoleActions(*parts), approvals, self.contact_writes)
        self._actions: dict[str, Callable[..., list[PlatformEvent]]] = {
            name: next(getattr(family, name) for family in families if hasattr(family, name))
            for name in ARGUMENTS
        }
        self.began_ms = self.at_ms = clock()
        beginning = partial(Company, seed=seed, users=users, departments=departments)
        self.past = PastApprovals(beginning, past_approvals, self.began_ms, seed, corp_id)
        for _ in range(min(users // 10, _MOST_RUNNING)):
            self._actions["start_approval"]()

    def _now(self) -> int:
        """Strictly increasing ms. The clock is read once for each action: from what happened when, the same
        life can be lived again."""
        self._last_ms = max(self.at_ms, self._last_ms + 1)
        return self._last_ms

    def now_ms(self) -> int:
        """The company's time: the clock's, but never before something that has happened."""
        return max(self._clock(), self._last_ms)

    def act(self, action: str, arguments: Mapping[str, Any] | None = None) -> list[PlatformEvent]:
        """Do one of ``ARGUMENTS``; the events in the order in which they are pushed.

        Raises ``ActionError`` for an unknown action or argument, or one that cannot be done; nothing has
        changed then.
        """
        with self._step(action, arguments or {}) as events:
            events += self._act(action, arguments or {})
        return events

    def _act(self, action: str, arguments: Mapping[str, Any]) -> list[PlatformEvent]:
        known = ARGUMENTS.get(action)
        if known is None:
            raise ActionError(f"no such action: {action}; there are {', '.join(ARGUMENTS)}")
        given = {}
        for name, value in arguments.items():
            if name not in known:
                raise ActionError(f"{action} takes no {name}; it takes {', '.join(known)}")
            if value is not None:
                given[name] = _convert(name, value, known[name])
        return self._actions[action](**given)

    def write(self, path: str, call: Call) -> Written:
        """What a call of ``writes`` does. Raises ``PlatformError``."""
        with self._step(path, call.body) as events:
            written = self.writes[path](call)
            events += written.events
        return written

    def repeat(self, step: RecordedStep) -> list[PlatformEvent]:
        """What was done once, again; what was refused then is refused again, without events."""
        try:
            if step.action is None:
                return self.act_at_random()
            if step.action in self.writes:
                return self.write(step.action, Call(step.arguments)).events
            return self.act(step.action, step.arguments)
        except (ActionError, PlatformError):
            return []

    @contextlib.contextmanager
    def _step(self, action: str | None, arguments: Mapping[str, Any]) -> Iterator[list[PlatformEvent]]:
        """Around what happens at one time; with its events it is one step of the company's life. What is
        refused is a step too: it has drawn its lots, and may have consequences, as 40103 an invitation."""
        self.at_ms = self._clock()
        events: list[PlatformEvent] = []
        try:
            yield events
        finally:
            self.on_step(RecordedStep(self.at_ms, action, dict(arguments)), events)

    def act_at_random(self) -> list[PlatformEvent]:
        """Something that happens in a company of a steady size."""
        with self._step(None, {}) as events:
            events += self._act(self._any_action(), {})
        return events

    def _any_action(self) -> str:
        company, running = self.company, len(self.approvals.running)
        if not company.users:
            return "hire"
        if len(company.departments) == 1:
            return "create_department"
        users, departments = self._size
        roles = list(company.roles)
        in_force = self.approvals.in_force()
        crowd = len(company.users) / users
        tree = (len(company.departments) - 1) / departments
        weights = {
            "hire": 3.0 if crowd < 1.3 else 0.5,
            "leave": 0.0 if crowd < 0.5 else 1.5 if crowd < 1.3 else 4.0,
            "come_back": 0.3 if company.former and crowd < 1.3 else 0.0,
            "move": 3.0,
            "rename": 1.5,
            "report_to": 0.5,
            "create_department": 0.7 if tree < 1.5 else 0.1,
            "rename_department": 0.7,
            "move_department": 0.2 if company.can_move() else 0.0,
            "lead": 0.4,
            "remove_department": 0.0 if tree < 0.6 else 0.3 if tree < 1.5 else 1.0,
            "create_role": 0.1 if len(roles) < 20 else 0.0,
            "rename_role": 0.1 if roles else 0.0,
            "remove_role": 0.1 if len(roles) > 5 else 0.0,
            "give_role": 0.4 if roles else 0.0,
            "take_role": 0.3 if any(role.userids for role in roles) else 0.0,
            "appoint_admin": 0.1 if len(company.roles.admins) < min(5, len(company.users)) else 0.0,
            "dismiss_admin": 0.1 if len(company.roles.admins) > 1 else 0.0,
            "start_approval": 6.0 if running < users else 0.5,
            "approve": 4.0 if running else 0.0,
            "refuse": 1.0 if running else 0.0,
            "redirect": 0.4 if running and len(company.users) > 1 else 0.0,
            "comment": 0.5 if running else 0.0,
            "revoke": 0.7 if running else 0.0,
            "modify_approved": 0.4 if in_force else 0.0,
            "revoke_approved": 0.3 if in_force else 0.0,
        }
        return self._rng.choices(list(weights), list(weights.values()))[0]


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
