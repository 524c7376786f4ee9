"""DingTalk's answers about users and departments as rows. Pure: no I/O, no clock, never raises.

Field names are those of query-user-details and query-department-details0-v2. Everybody is in one department
at least (the root's id is 1). So where the department list is *absent*, the app may not see it, and the rows
stay as they are; an *empty* list empties them. Roles are absent when there are none, and when the app may not
see them (``dingbridge/mirror/withheld.py``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dingbridge.snapshots.coerce import as_bool, as_int, as_json, as_list, as_text, china_date, parse_json

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
USER_COLUMNS = (*_USER_TEXTS, *_USER_FLAGS, "hired_at")
"""The columns of ``users`` that hold a person's fields."""

_NOT_LISTED = frozenset({"manager_userid", "senior"})
"""The columns that ``v2/user/list`` never has."""

LEAVER: Row = {"active": False, "admin": False, "boss": False, "senior": False}
"""The columns that are emptied when somebody leaves; all others stay as last known."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The ``columns`` of ``users`` that are stored; empty: all. ``extension`` has the additional column of
    each key of DingTalk's ``extension`` that has one."""

    columns: frozenset[str] = frozenset()
    extension: Mapping[str, str] = field(default_factory=dict)

    def keeps(self, column: str) -> bool:
        """Return whether the column is stored. ``unionid`` is: by it a new owner of a userid is noticed."""
        return not self.columns or column in self.columns or column == "unionid"


ALL_FIELDS = Fields()


@dataclass(frozen=True, slots=True)
class UserState:
    """A user as rows: ``memberships`` by dept_id, the ids of ``roles``; None: the answer lacks them.
    ``role_names`` are the rows of these roles that the answer has."""

    row: Row
    memberships: dict[int, Row] | None
    roles: frozenset[int] | None
    role_names: dict[int, Row] = field(default_factory=dict)


def user_state(result: Mapping[str, Any], fields: Fields = ALL_FIELDS) -> UserState:
    """The rows of one ``v2/user/get`` result."""
    row: Row = {name: as_text(result.get(name)) for name in _USER_TEXTS}
    row |= {name: as_bool(result.get(name)) for name in _USER_FLAGS}
    row["hired_at"] = china_date(result.get("hired_date"))
    row = {name: value if fields.keeps(name) else None for name, value in row.items()}
    if fields.extension:
        own = parse_json(as_text(result.get("extension")) or "")
        own = own if isinstance(own, dict) else {}
        row |= {column: as_text(own.get(key)) for key, column in fields.extension.items()}
    row |= {"left_at": None, "left_reported": None, "out_of_scope_at": None, "details_pending": False}
    names = _roles(result)
    return UserState(row, _memberships(result), frozenset(names), names)


def listed_state(item: Mapping[str, Any], dept_id: int, fields: Fields = ALL_FIELDS) -> UserState:
    """The rows of a user as ``v2/user/list`` shows one in the department ``dept_id``: without roles, manager,
    and what the person is in other departments (queries-the-complete-information-of-a-department-user)."""
    state = user_state(item, fields)
    row = {name: value for name, value in state.row.items() if name not in _NOT_LISTED}
    memberships: dict[int, Row] = {
        one: {"leader": None, "sort_order": None} for one in state.memberships or ()
    }
    if dept_id in memberships:
        leader = _by_department(item.get("leader_in_dept"), "leader").get(dept_id, item.get("leader"))
        order = _by_department(item.get("dept_order_list"), "order").get(dept_id, item.get("dept_order"))
        memberships[dept_id] = {"leader": as_bool(leader), "sort_order": as_int(order)}
    return UserState(row | {"details_pending": True}, memberships, None)


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
        "out_of_scope_at": None,
    }


def roles_state(groups: Iterable[Mapping[str, Any]]) -> dict[int, Row]:
    """The rows of ``role/list``, by role_id."""
    found: dict[int, Row] = {}
    for group in groups:
        for item in as_list(group.get("roles")) or []:
            role_id = as_int(item.get("id")) if isinstance(item, Mapping) else None
            if role_id is not None:
                found[role_id] = _role(item.get("name"), group.get("name"))
    return found


def _role(name: Any, group_name: Any) -> Row:
    return {"name": as_text(name), "group_name": as_text(group_name), "deleted_at": None}


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
            roles[role_id] = _role(item.get("name"), item.get("group_name"))
    return roles
