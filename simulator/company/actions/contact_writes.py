"""What the Open API writes about people and departments, by DingTalk's rules and with its codes.

Pages: user-information-creation, user-information-update, delete-a-user, address-book-creation-department-
established-department, address-book-update-department, address-book-deletion-department; codes of
server-api-error-codes-1, whose limits count where a page has a larger one. Where the pages are silent: an
empty text is as if it were not given; a manager who goes is replaced by nobody.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from dingbridge.simulator.call import Call
from dingbridge.simulator.company.actions.base import Actions, Written
from dingbridge.simulator.company.company import ROOT
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.people import Department, User
from dingbridge.simulator.errors import ActionError, PlatformError

_TEXTS: Final = {
    "name": (80, 60112),
    "title": (200, 60119),
    "job_number": (50, 60123),
    "email": (50, 60105),
    "telephone": (50, 40063),
    "work_place": (50, 40064),
    "remark": (1024, 40065),
}
"""Texts of a person: most characters, and the code of one that is longer."""
_UNIQUE: Final = {"email": 60106, "telephone": 40100}
_MOST_DEPARTMENTS: Final = 100
_MOBILE: Final = re.compile(r"1\d{10}|\+\d{1,4}-\d{4,14}")
_NOT_IN_A_NAME: Final = re.compile("[-,，]")


class ContactWrites(Actions):
    """Each call takes its parameters and gives what it wrote. Raises ``PlatformError``, and nothing has
    changed but for 40103. ``opt_staff_id``: who has done it, as the events say; nobody, unless it is set."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.opt_staff_id = ""
        self._protected: set[str] = set()
        self._invited: dict[str, Call] = {}

    def calls(self) -> dict[str, Callable[[Call], Written]]:
        """By path."""
        return {
            "/topapi/v2/user/create": self._create_user,
            "/topapi/v2/user/update": self._update_user,
            "/topapi/v2/user/delete": self._delete_user,
            "/topapi/v2/department/create": self._create_department,
            "/topapi/v2/department/update": self._update_department,
            "/topapi/v2/department/delete": self._delete_department,
        }

    def _operator(self) -> str:
        return self.opt_staff_id

    # People with account protection: actions, not calls

    def protect(self, mobile: str | None = None) -> list[PlatformEvent]:
        """Whoever has this number must accept before he is here: his creation is answered with 40103."""
        if not mobile:
            raise ActionError("protect needs a mobile")
        self._protected.add(mobile)
        return []

    def accept(self, mobile: str | None = None) -> list[PlatformEvent]:
        """He accepts, and is there, with the userid that was asked for."""
        if mobile is None:
            mobile = next(iter(self._invited), "")
        if mobile not in self._invited:
            raise ActionError(
                f"nobody was invited with the mobile {mobile}; create him by the Open API first"
            )
        self._protected.discard(mobile)
        try:
            return self._create_user(self._invited.pop(mobile)).events
        except PlatformError as error:
            raise ActionError(f"he cannot be created any more: {error}") from error

    # People

    def _create_user(self, call: Call) -> Written:
        fields = self._fields(call)
        call.text("name")
        mobile = call.text("mobile").removeprefix("+86-")
        if not _MOBILE.fullmatch(mobile):
            raise PlatformError(40104)
        dept_ids = self._dept_ids(call)
        userid = call.given("userid", 64, 60111)
        company = self._company
        if userid in company.users:
            raise PlatformError(60102)
        if company.users.holding("mobile", mobile):
            raise PlatformError(60104)
        self._check_unique(fields, None)
        if mobile in self._protected:
            self._invited[mobile] = call
            raise PlatformError(40103)
        at_ms = self._now()
        fields = {
            **dict.fromkeys(("email", "title", "job_number", "work_place", "manager"), ""),
            "hired_ms": at_ms - (at_ms + 8 * 3_600_000) % 86_400_000,  # midnight in Shanghai
            **fields,
        }
        user = User(
            userid=userid or company.new_userid(),
            unionid=company.new_unionid(),
            mobile=mobile,
            dept_ids=dept_ids,
            **fields,
        )
        company.users[user.userid] = user
        company.former.pop(user.userid, None)
        events = self._users("user_add_org", [user.userid], at_ms)
        if self._rng.random() < 0.6:
            # observed at DingTalk: who is added is modified at once
            events += self._users("user_modify_org", [user.userid], self._now())
        return Written({"result": {"userid": user.userid, "unionId": user.unionid}}, events, user.userid)

    def _update_user(self, call: Call) -> Written:
        user, fields = self._user(call), self._fields(call)
        before = self._company.user_result(user)
        if (mobile := call.given("mobile", 50, 40104)) and mobile.removeprefix("+86-") != user.mobile:
            raise PlatformError(40022)
        self._check_unique(fields, user)
        fields |= {"dept_ids": self._dept_ids(call)} if call.body.get("dept_id_list") else {}
        if "manager_userid" in str(call.body.get("force_update_fields") or "").split(","):
            fields.setdefault("manager", "")
        if call.number("ext_attrs_update_mode", 0) and "extension" in fields:
            fields["extension"] = user.extension | fields["extension"]
        for name, value in fields.items():
            setattr(user, name, value)
        events = self._users("user_modify_org", [user.userid], self._now())
        left = [
            dept
            for dept in self._company.departments.values()
            if user.userid in dept.managers and dept.dept_id not in user.dept_ids
        ]
        return Written(
            {},
            events + self._succession(self._lose(user.userid, left), []),
            user.userid,
            before != self._company.user_result(user),
        )

    def _delete_user(self, call: Call) -> Written:
        company, user = self._company, self._user(call)
        userid = user.userid
        heir = company.roles.forget(userid)
        at_ms = self._now()
        departments = self._lose(
            userid, [dept for dept in company.departments.values() if userid in dept.managers]
        )
        company.forget(userid)
        reports = [company.users[report] for report in company.users.reports(userid)]
        for report in reports:
            report.manager = ""
        events = self._users("user_leave_org", [userid], at_ms)
        events += self._succession(departments, [report.userid for report in reports])
        if heir:
            events += self._users("org_admin_add", [heir], self._now())
        return Written({}, events + self._hand_over(userid), userid)

    @staticmethod
    def _lose(userid: str, departments: list[Department]) -> list[int]:
        """These departments have one manager less."""
        for dept in departments:
            dept.managers = [manager for manager in dept.managers if manager != userid]
        return [dept.dept_id for dept in departments]

    def _user(self, call: Call) -> User:
        user = self._company.users.get(call.text("userid"))
        if user is None:
            raise PlatformError(60121)
        return user

    def _fields(self, call: Call) -> dict[str, Any]:
        """What is given of a person, by the names of ``User``."""
        fields: dict[str, Any] = {
            name: text for name, limit in _TEXTS.items() if (text := call.given(name, *limit))
        }
        if "email" in fields and not re.fullmatch(r"[^@\s]+@[^@\s]+", fields["email"]):
            raise PlatformError(60105)
        if "hide_mobile" in call.body:
            fields["hide_mobile"] = call.flag("hide_mobile")
        if "hired_date" in call.body:
            fields["hired_ms"] = call.number("hired_date")
        if manager := call.given("manager_userid", 64, 60128):
            if manager not in self._company.users:
                raise PlatformError(60128)
            fields["manager"] = manager
        if extension := call.body.get("extension"):
            fields["extension"] = _texts(extension)
        return fields

    def _check_unique(self, fields: dict[str, Any], of: User | None) -> None:
        for name, errcode in _UNIQUE.items():
            if name in fields and self._company.users.holding(name, fields[name], but=of):
                raise PlatformError(errcode)

    def _dept_ids(self, call: Call) -> list[int]:
        if isinstance(call.body.get("dept_id_list"), list):  # it is a text, unlike what a reading shows
            raise PlatformError(40066)
        parts = call.text("dept_id_list").split(",")
        if len(parts) > _MOST_DEPARTMENTS or not all(part.strip().isdecimal() for part in parts):
            raise PlatformError(40066)
        dept_ids = list(dict.fromkeys(int(part) for part in parts))
        if any(dept_id not in self._company.departments for dept_id in dept_ids):
            raise PlatformError(60003)
        return dept_ids

    # Departments

    def _create_department(self, call: Call) -> Written:
        name, parent = self._dept_name(call.text("name")), call.number("parent_id")
        self._check_place(name, parent, None)
        order = call.number("order", 0)
        dept = self._company.create_department(name=name, parent=parent)
        dept.order = order or dept.order
        dept.source_identifier = call.given("source_identifier", 512, 40035)
        events = [self._shape.contact("org_dept_create", self._now(), departments=[dept.dept_id])]
        return Written({"result": {"dept_id": dept.dept_id}}, events, dept.dept_id)

    def _update_department(self, call: Call) -> Written:
        dept, company = self._department(call), self._company
        before = company.department_result(dept)
        name = self._dept_name(call.given("name", 64, 60001) or dept.name)
        parent = call.number("parent_id") if "parent_id" in call.body else dept.parent
        if parent != dept.parent:
            if dept.parent is None:
                raise PlatformError(60018)
            if parent in {below.dept_id for below in company.subtree(dept.dept_id)}:
                raise PlatformError(60010)
        if parent is not None:
            self._check_place(name, parent, dept)
        managers = self._managers(call, dept)
        order, identifier = call.number("order", dept.order), call.given("source_identifier", 512, 40035)
        changed = [m for m in company.members(dept.dept_id) if m in set(managers) ^ set(dept.managers)]
        dept.name, dept.parent, dept.managers, dept.order = name, parent, managers, order
        dept.source_identifier = identifier or dept.source_identifier
        company.tree_changed()
        events = self._succession([dept.dept_id], changed)
        return Written({}, events, dept.dept_id, before != company.department_result(dept))

    def _delete_department(self, call: Call) -> Written:
        dept, company = self._department(call), self._company
        if dept.dept_id == ROOT:
            raise PlatformError(60007)
        if any(company.members(below.dept_id) for below in company.subtree(dept.dept_id)):
            raise PlatformError(60005)
        if company.children(dept.dept_id):
            raise PlatformError(60006)
        del company.departments[dept.dept_id]
        company.tree_changed()
        events = [
            self._shape.contact(
                "org_dept_remove", self._now(), departments=[dept.dept_id], operator=self._operator()
            )
        ]
        return Written({}, events, dept.dept_id)

    def _department(self, call: Call) -> Department:
        dept = self._company.departments.get(call.number("dept_id"))
        if dept is None:
            raise PlatformError(60003)
        return dept

    @staticmethod
    def _dept_name(name: str) -> str:
        if len(name) > 64:
            raise PlatformError(60001)
        if _NOT_IN_A_NAME.search(name):
            raise PlatformError(60009)
        return name

    def _check_place(self, name: str, parent: int, dept: Department | None) -> None:
        if parent not in self._company.departments:
            raise PlatformError(60004)
        if any(child.name == name for child in self._company.children(parent) if child is not dept):
            raise PlatformError(60021)

    def _managers(self, call: Call, dept: Department) -> list[str]:
        given = call.given("dept_manager_userid_list", 10_000, 40031)
        if not given:
            forced = str(call.body.get("force_update_fields") or "").split(",")
            return [] if "dept_manager_userid_list" in forced else dept.managers
        managers = list(dict.fromkeys(userid.strip() for userid in given.split(",")))
        if any(userid not in self._company.users for userid in managers):
            raise PlatformError(60121)
        if any(dept.dept_id not in self._company.users[userid].dept_ids for userid in managers):
            raise PlatformError(60068)
        return managers


def _texts(value: Any) -> dict[str, str]:
    """The company's own fields: JSON in a text, or, as the vendor's Java SDK creates, an object."""
    try:
        fields = orjson.loads(value) if isinstance(value, str) and len(value) <= 2_000 else value
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(text, str) for text in fields.values()):
        raise PlatformError(60122)
    return fields
