"""Employees and departments, and how the Open API shows them."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from dingbridge.simulator.company.roles import Roles

_ORDER: Final = 176_000_000
_ALWAYS_OF_A_USER: Final = {"real_authed": True, "senior": False, "boss": False, "exclusive_account": False}
_ALWAYS_OF_A_DEPARTMENT: Final = {
    "hide_dept": False,
    "outer_dept": False,
    "dept_permits": [],
    "user_permits": [],
    "outer_permit_depts": [],
    "outer_permit_users": [],
    "group_contain_sub_dept": False,
}
_NOT_LISTED: Final = frozenset(
    {"manager_userid", "dept_order_list", "leader_in_dept", "role_list", "senior", "real_authed"}
)
"""What the details of a user have and a listing has not."""


@dataclass(slots=True)
class Department:
    """One department. ``managers`` are userids; ``parent`` is ``None`` for the root only;
    ``source_identifier`` is the id that another system gave it."""

    dept_id: int
    name: str
    parent: int | None
    order: int
    managers: list[str] = field(default_factory=list)
    source_identifier: str = ""


@dataclass(slots=True)
class User:
    """One employee. ``mobile`` has its country (``+1-…``) unless that is 86; ``hired_ms`` is epoch ms,
    midnight in Shanghai; ``extension`` is the texts of the company's own fields."""

    userid: str
    unionid: str
    name: str
    mobile: str
    email: str
    title: str
    job_number: str
    work_place: str
    dept_ids: list[int]
    manager: str
    hired_ms: int
    telephone: str = ""
    remark: str = ""
    hide_mobile: bool = False
    extension: dict[str, str] = field(default_factory=dict)


class Results:
    """The half of a company that shows it."""

    departments: dict[int, Department]
    roles: Roles

    def user_result(self, user: User) -> dict[str, Any]:
        """``result`` of query-user-details; what is empty is absent, as there."""
        departments = self.departments
        country, _, mobile = user.mobile.rpartition("-")
        result: dict[str, Any] = {
            "userid": user.userid,
            "unionid": user.unionid,
            "name": user.name,
            "state_code": country.removeprefix("+") or "86",
            "mobile": mobile,
            "hide_mobile": user.hide_mobile,
            "telephone": user.telephone,
            "job_number": user.job_number,
            "title": user.title,
            "email": user.email,
            "work_place": user.work_place,
            "remark": user.remark,
            "manager_userid": user.manager,
            "dept_id_list": user.dept_ids,
            "dept_order_list": [{"dept_id": d, "order": _ORDER + i} for i, d in enumerate(user.dept_ids)],
            "leader_in_dept": [
                {"dept_id": d, "leader": user.userid in departments[d].managers} for d in user.dept_ids
            ],
            "hired_date": user.hired_ms,
            "active": True,
            "admin": user.userid in self.roles.admins,
            **_ALWAYS_OF_A_USER,
            "extension": json.dumps(user.extension, ensure_ascii=False) if user.extension else "",
            "role_list": self.roles.user_result(user.userid) or "",
        }
        return {key: value for key, value in result.items() if value != ""}

    def department_result(self, dept: Department) -> dict[str, Any]:
        """``result`` of query-department-details0-v2; the root has no ``parent_id``."""
        below = dept.parent is not None
        result: dict[str, Any] = {
            "dept_id": dept.dept_id,
            "name": dept.name,
            "parent_id": dept.parent,
            "order": dept.order,
            "source_identifier": dept.source_identifier,
            "dept_manager_userid_list": dept.managers,
            "org_dept_owner": dept.managers[0] if dept.managers else "",
            "create_dept_group": below,
            "auto_add_user": below,
            **_ALWAYS_OF_A_DEPARTMENT,
        }
        return {key: value for key, value in result.items() if value not in ("", None)}


def listed_result(shown: dict[str, Any], dept_id: int) -> dict[str, Any]:
    """An item of queries-the-complete-information-of-a-department-user, from the ``user_result``: less than
    that, and leader and order for the department that is listed."""
    (order,) = (of["order"] for of in shown["dept_order_list"] if of["dept_id"] == dept_id)
    (leader,) = (of["leader"] for of in shown["leader_in_dept"] if of["dept_id"] == dept_id)
    result = {key: value for key, value in shown.items() if key not in _NOT_LISTED}
    return result | {"dept_order": order, "leader": leader}
