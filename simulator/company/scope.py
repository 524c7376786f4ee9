"""How much of the company the app may see: whole departments with all below them, and single people.

DingTalk calls it 通讯录接口权限范围; what lies outside answers 50002 or 50004 (server-api-error-codes-1). By
the profile, single people and departments answer so too, though listings name them, and there are the
family-school contacts.
"""

from collections.abc import Iterable
from typing import Any, Final

from dingbridge.simulator.company.company import ROOT, Company
from dingbridge.simulator.errors import PlatformError
from dingbridge.simulator.profile import Profile, lot

FAMILY_SCHOOL: Final = {"dept_id": -1, "name": "家校通讯录", "parent_id": ROOT} | dict.fromkeys(
    ("create_dept_group", "auto_add_user"), False
)
"""How the root's listing shows the family-school contacts, which no other call knows (60003)."""


class VisibleScope:
    """What the app was authorised for. The whole company unless set otherwise. ``seed``: who is one of the
    share that is refused."""

    def __init__(self, company: Company, profile: Profile | None = None, seed: int = 1) -> None:
        self._company, self._profile, self._seed = company, profile or Profile(), seed
        self.departments: list[int] = [ROOT]
        self.users: list[str] = []

    def set(self, departments: Iterable[Any], users: Iterable[Any]) -> None:
        """Raises ``ActionError`` for one that there is not."""
        wanted = [(self._company.department(d).dept_id) for d in departments]
        people = [self._company.user(u).userid for u in users]
        self.departments, self.users = list(dict.fromkeys(wanted)), list(dict.fromkeys(people))

    def sees_department(self, dept_id: int) -> bool:
        """Whether the department or one above it is authorised, and it is not refused by itself."""
        if dept_id != ROOT and self._refused("department", dept_id):
            return False
        return self._authorised(dept_id)

    def _authorised(self, dept_id: int) -> bool:
        if ROOT in self.departments:
            return True
        at: int | None = dept_id
        while at is not None:
            if at in self.departments:
                return True
            dept = self._company.departments.get(at)
            at = dept.parent if dept is not None else None
        return False

    def sees_user(self, userid: str) -> bool:
        """True for somebody who is not there: that is for the call to say."""
        user = self._company.users.peek(userid)
        if user is None:
            return True
        if self._refused("user", userid):
            return False
        return userid in self.users or any(self._authorised(dept_id) for dept_id in user.dept_ids)

    def _refused(self, kind: str, name: str | int) -> bool:
        return lot(self._seed, "refused", kind, name) < self._profile.refused

    def refused(self) -> dict[str, list[Any]]:
        """Who and what single reads refuse, by the profile: ``users`` and ``departments``, by their ids."""
        company = self._company
        return {
            "users": [u.userid for u in company.users.values() if self._refused("user", u.userid)],
            "departments": [d for d in company.departments if d != ROOT and self._refused("department", d)],
        }

    def listed_below(self, dept_id: int) -> list[dict[str, Any]]:
        """What listings show below a department that is none of the company's."""
        return [FAMILY_SCHOOL] if dept_id == ROOT and self._profile.family_school else []

    def check_department(self, dept_id: int) -> None:
        """Raises ``PlatformError`` for one outside."""
        if not self.sees_department(dept_id):
            raise PlatformError(50004)

    def check_user(self, userid: str) -> None:
        """Raises ``PlatformError`` for one outside."""
        if not self.sees_user(userid):
            raise PlatformError(50002)

    def result(self) -> dict[str, Any]:
        """``auth_org_scopes`` of GET /auth/scopes."""
        return {"authed_dept": self.departments, "authed_user": self.users}
