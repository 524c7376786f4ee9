"""What reads show of people, departments and approvals: the present, or for a while the state before a
change.

No page of DingTalk's promises how soon a read shows a change, and no lag has been measured (UNVERIFIED).
Events never wait for it. Some entities, by the profile's share, lag behind every change, whoever makes it;
``lag_s`` holds for all that the Open API writes about people and departments. Each change has a lag of its
own for reads of the entity itself, and another for listings; neither ever goes back behind what it has shown.

What something was before a change is asked of a twin, which lives the same life and is one step behind.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog

from dingbridge.simulator.company.documents import Approval
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.profile import Profile, lot
from dingbridge.simulator.recording import RecordedStep, Recording

log = structlog.get_logger(__name__)

Shown = dict[str, Any]
Kind = Literal["user", "department", "approval"]
Key = tuple[Kind, str | int]
View = str
VIEWS: Final = ("read", "listed")
"""Reads of an entity itself, and listings. The members and the departments below a department have views of
their own, by ``listed_in``: so somebody who moves may stand in both listings for a while, or in none."""
_NAMED: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("UserId", "userId", "UserIdList", "userIdList"), "user"),
    **dict.fromkeys(("DeptId", "deptId"), "department"),
    "processInstanceId": "approval",
}
"""The fields of events that name what has changed."""


def listed_in(dept_id: int) -> View:
    """The view of a department's listings."""
    return f"listed {dept_id}"


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of an entity, at a time of the clock and as step number ``step``; ``late``: each view of it
    lags, by its own share of the longest lag."""

    at: float
    before: Any
    written: bool
    step: int
    late: bool


class Twin:
    """The same company by ``recording``, up to the last step that it followed."""

    def __init__(self, recording: Recording) -> None:
        self._at_ms = recording.began_ms
        self.platform = Platform(
            seed=recording.seed,
            users=recording.users,
            departments=recording.departments,
            corp_id=recording.corp_id,
            generation=recording.generation,
            clock=lambda: self._at_ms,
        )
        for step in recording.steps:
            self.follow(step)

    def follow(self, step: RecordedStep) -> None:
        self._at_ms = step.at_ms
        self.platform.repeat(step)


class Sight:
    """``recording`` is that of ``platform``: give each step to ``changed`` before it is added there.
    ``clock`` is in seconds."""

    def __init__(
        self,
        platform: Platform,
        recording: Recording,
        profile: Profile,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._platform, self._recording, self._profile = platform, recording, profile
        self._clock = clock
        self.lag_s = 0.0
        self.fault_lag_ms: Callable[[], int] = lambda: 0
        self._twin: Twin | None = None
        self._changes: dict[Key, deque[_Change]] = {}
        """By entity, the one that changed last at the end."""
        self._step = 0

    # What is shown

    def user(self, userid: str, view: View = "read") -> Shown | None:
        """``result`` of v2/user/get; ``None`` when there is none."""
        shown: Shown | None = self._show(("user", userid), view)
        return shown

    def department(self, dept_id: int, view: View = "read") -> Shown | None:
        """``result`` of v2/department/get; ``None`` when there is none."""
        shown: Shown | None = self._show(("department", dept_id), view)
        return shown

    def approval(self, instance_id: str, view: View = "read") -> Approval | None:
        shown: Approval | None = self._show(("approval", instance_id), view)
        return shown

    @property
    def true_z(self) -> bool:
        """Whether the ``Z`` of approvals' times is meant."""
        return self._platform.approvals.true_z

    def approvals(self) -> Iterator[Approval]:
        """All that listings show, in the order of starting but for those that are gone."""
        here = [approval.instance_id for approval in self._platform.approvals]
        for instance_id in dict.fromkeys([*here, *self._changed("approval")]):
            if (approval := self.approval(instance_id, "listed")) is not None:
                yield approval

    def children(self, parent: int) -> list[Shown]:
        """The departments that listings show under ``parent``."""
        here = {dept.dept_id for dept in self._platform.company.children(parent)}
        here.update(self._changed("department"))
        shown = (self.department(dept_id, listed_in(parent)) for dept_id in sorted(here))
        return [dept for dept in shown if dept is not None and dept.get("parent_id") == parent]

    def members(self, dept_id: int) -> list[str]:
        """The userids that listings show in the department, in the order of hiring but for those who have
        gone."""
        here = dict.fromkeys(self._platform.company.members(dept_id))
        for userid in self._changed("user"):
            shown = self.user(userid, listed_in(dept_id))
            if shown is not None and dept_id in shown["dept_id_list"]:
                here[userid] = None
            else:
                here.pop(userid, None)
        return list(here)

    def holding(self, mobile: str) -> str | None:
        """The userid of whom reads show with this mobile."""
        user = self._platform.company.users.holding("mobile", mobile)
        for userid in ([] if user is None else [user.userid]) + self._changed("user"):
            shown = self.user(userid)
            if shown is not None and _mobile(shown) == mobile:
                return str(userid)
        return None

    def _show(self, key: Key, view: View) -> Any:
        now = self._clock()
        for change in self._changes.get(key, ()):  # in their order: none is seen before the one before it
            if change.at + self._lag_s(key, change, view) > now:
                return change.before
        return _state(self._platform, key)

    def _lag_s(self, key: Key, change: _Change, view: View) -> float:
        late_s = self._profile.late_ms / 1000 if self._profile.late else 0.0
        late_s = max(late_s, self.fault_lag_ms() / 1000)
        share = 1 - lot(self._recording.seed, view, *key, change.step) if change.late and late_s else 0.0
        return max(self.lag_s if change.written else 0.0, late_s * share)

    def _changed(self, kind: Kind) -> list[Any]:
        return [name for of, name in self._changes if of == kind]

    # What has changed

    def changed(self, step: RecordedStep, events: Iterable[PlatformEvent]) -> None:
        """A step was done, with these events."""
        ruled_ms = self.fault_lag_ms()
        if not self.lag_s and not ruled_ms and not (self._profile.late and self._profile.late_ms):
            self._twin = None
            self._changes.clear()
            return
        if self._twin is None:
            if not self._recording.complete:
                log.warning("simulator.reads_cannot_lag", reason="its life is too long to be lived again")
                self._profile.late = self.lag_s = 0.0
                return
            self._twin = Twin(self._recording)
        self._step += 1
        now, written = self._clock(), step.action in self._platform.contact_writes.calls()
        for key in dict.fromkeys(_named(events)):
            late = self._is_late(key)
            if not late and not (written and self.lag_s):
                continue
            before = _state(self._twin.platform, key)
            if before != _state(self._platform, key):
                changes = self._changes.pop(key, deque())
                changes.append(_Change(now, deepcopy(before), written, self._step, late))
                self._changes[key] = changes
        self._twin.follow(step)
        self._forget(now - max(self.lag_s, self._profile.late_ms / 1000, ruled_ms / 1000))

    def _is_late(self, key: Key) -> bool:
        return bool(self.fault_lag_ms()) or lot(self._recording.seed, "late", *key) < self._profile.late

    def _forget(self, until: float) -> None:
        """What everybody sees by now need not be kept."""
        while self._changes:
            key, changes = next(iter(self._changes.items()))
            while changes and changes[0].at <= until:
                changes.popleft()
            if changes:
                return
            del self._changes[key]


def _state(platform: Platform, key: Key) -> Any:
    """An entity as it is, ``None`` when there is none."""
    kind, name = key
    company = platform.company
    if kind == "approval":
        return platform.approvals.get(str(name))
    if kind == "user":
        user = company.users.peek(str(name))
        return None if user is None else company.user_result(user)
    dept = company.departments.get(int(name))
    return None if dept is None else company.department_result(dept)


def _named(events: Iterable[PlatformEvent]) -> Iterator[Key]:
    for event in events:
        for field, kind in _NAMED.items():
            named = event.payload.get(field, ())
            for name in named if isinstance(named, list) else [named] if named else ():
                yield kind, name


def _mobile(shown: Shown) -> str:
    country, mobile = shown["state_code"], str(shown.get("mobile"))
    return mobile if country == "86" else f"+{country}-{mobile}"
