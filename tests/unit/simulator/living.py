"""A platform of a small company, and a receiver of its events: what the tests of its actions share."""

import copy
from typing import Any

from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.company.sight import Sight
from dingbridge.simulator.profile import Profile
from dingbridge.simulator.recording import Recording

NOW = 1_731_000_000_000
CORP = "dingcorpsample01"


def make(**options: Any) -> Platform:
    return Platform(**{"seed": 5, "users": 40, "departments": 10, "clock": lambda: NOW} | options)


def seeing(platform: Platform) -> Sight:
    """Reads of it, which show the present."""
    recording = Recording(5, 40, 10, CORP, "mixed", 0.0, 0.0, platform.began_ms)
    return Sight(platform, recording, Profile())


def ids(event: PlatformEvent, old: str, new: str) -> list[Any]:
    return event.payload.get(old, event.payload.get(new, []))


class Mirror:
    """A receiver who knows only ids from events, and looks at the API for each of them."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.users: dict[str, Any] = {}
        self.departments: dict[int, Any] = {}
        self.approvals: dict[str, Any] = {}
        for userid in platform.company.users:
            self.look_at_user(userid)
        for dept_id in platform.company.departments:
            self.look_at_department(dept_id)
        for approval in platform.approvals:
            self.look_at_approval(approval.instance_id)

    def look_at_user(self, userid: str) -> None:
        user = self.platform.company.users.peek(userid)
        self.users.pop(userid, None)
        if user is not None:
            self.users[userid] = copy.deepcopy(self.platform.company.user_result(user))

    def look_at_department(self, dept_id: int) -> None:
        dept = self.platform.company.departments.get(dept_id)
        self.departments.pop(dept_id, None)
        if dept is not None:
            self.departments[dept_id] = copy.deepcopy(self.platform.company.department_result(dept))

    def look_at_approval(self, instance_id: str) -> None:
        approval = self.platform.approvals.get(instance_id)
        self.approvals.pop(instance_id, None)
        if approval is not None:
            self.approvals[instance_id] = shown = copy.deepcopy(self.platform.approvals.result(approval))
            if main := shown.get("mainProcessInstanceId"):  # which is changed or taken back by this one
                self.look_at_approval(main)

    def receive(self, event: PlatformEvent) -> None:
        for userid in ids(event, "UserId", "userId"):
            self.look_at_user(userid)
        for userid in ids(event, "UserIdList", "userIdList"):
            self.look_at_user(userid)
        if event.event_type.startswith("label_conf"):
            # its event names the role only: a receiver has to know who has it
            labels = set(ids(event, "LabelIdList", "labelIdList"))
            for userid, user in list(self.users.items()):
                if labels & {role["id"] for role in user.get("role_list", [])}:
                    self.look_at_user(userid)
        for dept_id in ids(event, "DeptId", "deptId"):
            self.look_at_department(dept_id)
        if instance_id := event.payload.get("processInstanceId"):
            self.look_at_approval(instance_id)
