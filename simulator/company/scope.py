"""How much of the company the app may see: whole departments with all below them, and single people.

DingTalk calls it 通讯录接口权限范围; what lies outside answers 50002 or 50004 (server-api-error-codes-1).
"""

from collections.abc import Iterable
from typing import Any

from simulator.company.company import ROOT, Company
from simulator.errors import PlatformError


class VisibleScope:
    """What the app was authorised for. The whole company unless set otherwise."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self.departments: list[int] = [ROOT]
        self.users: list[str] = []

    def set(self, departments: Iterable[Any], users: Iterable[Any]) -> None:
        """Raises ``ActionError`` for one that there is not."""
        wanted = [(self._company.department(d).dept_id) for d in departments]
        people = [self._company.user(u).userid for u in users]
        self.departments, self.users = list(dict.fromkeys(wanted)), list(dict.fromkeys(people))

    def sees_department(self, dept_id: int) -> bool:
        """Whether the department or one above it is authorised."""
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
        if ROOT in self.departments or userid in self.users:
            return True
        user = self._company.users.peek(userid)
        if user is None:
            return True
        return any(self.sees_department(dept_id) for dept_id in user.dept_ids)

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
