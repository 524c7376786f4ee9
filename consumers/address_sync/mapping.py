"""DingTalk's answers about users and departments as rows. Pure: no I/O, no clock, never raises.

Field names are those of query-user-details and query-department-details0-v2. Everybody is in one department
at least (the root's id is 1), so an *absent* department list says that we may not see it, and leaves what is
known as it is; an *empty* one empties it. Roles are absent when there are none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumers.mirror.values import as_bool, as_int, as_json, as_list, as_text, from_epoch_ms

Row = dict[str, Any]

_USER_TEXTS = (
    "unionid",
    "job_number",
    "name",
    "title",
    "email",
    "org_email",
    "mobile",
    "telephone",
    "work_place",
    "remark",
    "manager_userid",
    "extension",
)
_USER_FLAGS = ("active", "admin", "boss", "senior", "exclusive_account")

LEAVER: Row = {"active": False, "admin": False, "boss": False, "senior": False}
"""What no longer holds for somebody who left; everything else stays as it was last known."""


@dataclass(frozen=True, slots=True)
class UserState:
    """A user as rows: ``memberships`` by dept_id (None: DingTalk is silent), ``roles`` by role_id."""

    row: Row
    memberships: dict[int, Row] | None
    roles: dict[int, Row]


def user_state(result: Mapping[str, Any]) -> UserState:
    """The rows of one ``v2/user/get`` result (or one item of ``v2/user/list``)."""
    row: Row = {name: as_text(result.get(name)) for name in _USER_TEXTS}
    row |= {name: as_bool(result.get(name)) for name in _USER_FLAGS}
    row["hired_at"] = from_epoch_ms(result.get("hired_date"))
    row["left_at"] = None
    return UserState(row, _memberships(result), _roles(result))


def department_row(result: Mapping[str, Any]) -> Row:
    """The row of one ``v2/department/get`` result."""
    managers = as_list(result.get("dept_manager_userid_list"))
    return {
        "name": as_text(result.get("name")),
        "parent_id": as_int(result.get("parent_id")),
        "sort_order": as_int(result.get("order")),
        "manager_userids": None if managers is None else as_json(managers),
        "code": as_text(result.get("code")),
        "source_identifier": as_text(result.get("source_identifier")),
        "hidden": as_bool(result.get("hide_dept")),
        "deleted_at": None,
    }


def _memberships(result: Mapping[str, Any]) -> dict[int, Row] | None:
    ids = as_list(result.get("dept_id_list"))
    if ids is None:
        return None
    leaders = _by_department(result.get("leader_in_dept"), "leader")
    orders = _by_department(result.get("dept_order_list"), "order")
    known = [dept_id for dept_id in map(as_int, ids) if dept_id is not None]
    return {
        dept_id: {"leader": as_bool(leaders.get(dept_id)), "sort_order": as_int(orders.get(dept_id))}
        for dept_id in known
    }


def _by_department(value: Any, field: str) -> dict[int, Any]:
    found = {}
    for item in as_list(value) or []:
        dept_id = as_int(item.get("dept_id")) if isinstance(item, Mapping) else None
        if dept_id is not None:
            found[dept_id] = item.get(field)
    return found


def _roles(result: Mapping[str, Any]) -> dict[int, Row]:
    roles = {}
    for item in as_list(result.get("role_list")) or []:
        role_id = as_int(item.get("id")) if isinstance(item, Mapping) else None
        if role_id is not None:
            roles[role_id] = {
                "name": as_text(item.get("name")),
                "group_name": as_text(item.get("group_name")),
            }
    return roles
