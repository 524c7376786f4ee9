"""What happens to people and departments, and its contact events."""

from typing import Final

from dingbridge.simulator.company.actions.base import Actions
from dingbridge.simulator.company.company import ROOT
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.errors import ActionError

_MOST_HIRED: Final = 1000


class ContactActions(Actions):
    """Each method is one action; it returns its events in the order in which they are pushed."""

    def hire(
        self,
        count: int | None = None,
        name: str | None = None,
        dept_ids: list[int] | None = None,
        follow_up: bool | None = None,
    ) -> list[PlatformEvent]:
        rng = self._rng
        if count is None:
            count = rng.randrange(2, 6) if name is None and rng.random() < 0.1 else 1
        if not 1 <= count <= _MOST_HIRED:
            raise ActionError(f"count must be 1 to {_MOST_HIRED}")
        if follow_up is None:
            follow_up = rng.random() < 0.6
        at_ms = self._now()
        midnight = at_ms - (at_ms + 8 * 3_600_000) % 86_400_000
        hired = [
            self._company.hire(hired_ms=midnight, name=name, dept_ids=dept_ids).userid for _ in range(count)
        ]
        events = self._users("user_add_org", hired, at_ms)
        if follow_up:
            # observed at DingTalk: who is added is modified at once
            events += self._users("user_modify_org", hired, self._now())
        return events

    def move(self, userid: str | None = None, dept_ids: list[int] | None = None) -> list[PlatformEvent]:
        userid = userid or self._company.pick_user().userid
        user, departments, colleagues = self._company.move(userid, dept_ids)
        events = self._users("user_modify_org", [user.userid], self._now())
        return events + self._succession(departments, colleagues)

    def rename(self, userid: str | None = None, name: str | None = None) -> list[PlatformEvent]:
        if name is not None and not name.strip():
            raise ActionError("name must not be empty")
        user, before = self._company.rename(userid or self._company.pick_user().userid, name)
        same = {"jobNumber": user.job_number, "email": user.email}
        diff = ({"name": before} | same, {"name": user.name} | same)
        at_ms = self._now()
        return [
            self._shape.contact(
                "user_modify_org", at_ms, users=[user.userid], operator=self._operator(), diff=diff
            )
        ]

    def edit(self, userid: str | None = None, **fields: str) -> list[PlatformEvent]:
        """Somebody changes what stands about a person in DingTalk: a title, a mobile number."""
        if "mobile" in fields and not fields["mobile"]:
            raise ActionError("a mobile must not be empty")
        user = self._company.edit(userid or self._company.pick_user().userid, fields)
        return self._users("user_modify_org", [user.userid], self._now())

    def leave(self, userid: str | None = None, count: int | None = None) -> list[PlatformEvent]:
        if userid is not None and count is not None:
            raise ActionError("leave takes userid or count, not both")
        if count is not None and not 1 <= count <= len(self._company.users):
            raise ActionError(f"count must be 1 to {len(self._company.users)}, the people there are")
        gone: list[str] = []
        heirs: list[str] = []
        later: list[PlatformEvent] = []
        departments: dict[int, None] = {}
        colleagues: dict[str, None] = {}
        at_ms = self._now()
        for _ in range(count or 1):
            leaver = userid or self._company.pick_user().userid
            self._company.user(leaver)
            heirs += [heir] if (heir := self._company.roles.forget(leaver)) else []
            lost, changed = self._company.leave(leaver)
            gone.append(leaver)
            departments |= dict.fromkeys(lost)
            colleagues |= dict.fromkeys(changed)
            later += self._hand_over(leaver)
        stay = [u for u in colleagues if u in self._company.users]
        events = self._users("user_leave_org", gone, at_ms) + self._succession(list(departments), stay)
        if admins := [u for u in heirs if u in self._company.users]:
            events += self._users("org_admin_add", admins, self._now())
        return events + later

    def come_back(self, userid: str | None = None) -> list[PlatformEvent]:
        user = self._company.come_back(userid)
        return self._users("user_add_org", [user.userid], self._now())

    def report_to(self, userid: str | None = None, manager: str | None = None) -> list[PlatformEvent]:
        user = self._company.report_to(userid or self._company.pick_user().userid, manager)
        return self._users("user_modify_org", [user.userid], self._now())

    def create_department(self, name: str | None = None, parent_id: int | None = None) -> list[PlatformEvent]:
        dept = self._company.create_department(name=name, parent=parent_id)
        return [self._shape.contact("org_dept_create", self._now(), departments=[dept.dept_id])]

    def rename_department(self, dept_id: int | None = None, name: str | None = None) -> list[PlatformEvent]:
        if dept_id is None:
            dept_id = self._company.pick_department().dept_id
        self._company.rename_department(dept_id, name)
        # observed at DingTalk: a change of the company itself is announced before that of department 1
        events = [self._shape.contact("org_change", self._now())] if dept_id == ROOT else []
        return [*events, self._shape.contact("org_dept_modify", self._now(), departments=[dept_id])]

    def move_department(
        self, dept_id: int | None = None, parent_id: int | None = None
    ) -> list[PlatformEvent]:
        dept = self._company.move_department(dept_id, parent_id)
        return [self._shape.contact("org_dept_modify", self._now(), departments=[dept.dept_id])]

    def lead(self, dept_id: int | None = None, userid: str | None = None) -> list[PlatformEvent]:
        if dept_id is None:
            dept_id = self._company.pick_department().dept_id
        dept, changed = self._company.lead(dept_id, None if userid is None else [userid])
        return self._succession([dept.dept_id], changed)

    def remove_department(self, dept_id: int | None = None) -> list[PlatformEvent]:
        if dept_id is None:
            dept_id = self._company.pick_department().dept_id
        removed, moved = self._company.remove_department(dept_id)
        at_ms = self._now()
        # a cascade is announced at once, with all the ids
        events = [
            self._shape.contact("org_dept_remove", at_ms, departments=removed, operator=self._operator())
        ]
        return events + (self._users("user_modify_org", moved, self._now()) if moved else [])
