"""A company for address-sync's tests: the methods of the DingTalk client it calls, and events to deliver."""

import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from dingbridge.dingtalk.errors import BadRequest, NotFound, PermissionDenied
from dingbridge.events.control import resync_requested
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import Event, decode

CORP = "dingcorp01"
_seq = itertools.count(1)


class Company:
    """The state of a company, as the Open API would show it. ``calls`` counts by API name.

    ``hidden``: users and departments outside of the app's scope. ``refused``: calls for which the app has no
    permission. ``before``: what happens before a call is answered, by API name.
    """

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.departments: dict[int, dict[str, Any]] = {1: {"dept_id": 1, "name": "示例公司"}}
        self.roles: dict[int, str] = {}
        self.hidden: set[str | int] = set()
        self.refused: set[str] = set()
        self.scope: list[int] = [1]
        self.before: dict[str, Callable[[], None]] = {}
        self.calls: Counter[str] = Counter()

    def _called(self, api: str) -> None:
        self.calls[api] += 1
        if api in self.before:
            self.before[api]()
        if api in self.refused:
            raise PermissionDenied("no permission", api=api, errcode=60011)

    async def user(self, userid: str) -> dict[str, Any]:
        return self._get("v2/user/get", 60121, self.users, userid)

    async def department(self, dept_id: int) -> dict[str, Any]:
        return self._get("v2/department/get", 60003, self.departments, dept_id)

    async def sub_departments(self, dept_id: int) -> list[dict[str, Any]]:
        self._get("v2/department/listsub", 60003, self.departments, dept_id)
        return [d for d in self.departments.values() if d.get("parent_id") == dept_id]

    async def department_users(self, dept_id: int) -> AsyncIterator[dict[str, Any]]:
        self._get("v2/user/list", 60003, self.departments, dept_id)
        for user in list(self.users.values()):
            if dept_id in user.get("dept_id_list", []):
                yield listed(user, dept_id)

    async def user_count(self, only_active: bool) -> int:
        self._called("user/count")
        return len(self.users)

    async def role_groups(self) -> list[dict[str, Any]]:
        self._called("role/list")
        return [
            {"groupId": 1, "name": "职务", "roles": [{"id": i, "name": n} for i, n in self.roles.items()]}
        ]

    async def role_users(self, role_id: int) -> AsyncIterator[dict[str, Any]]:
        self._called("role/simplelist")
        if role_id not in self.roles:
            raise BadRequest("no such role", api="role/simplelist", errcode=400002)
        for user in list(self.users.values()):
            if role_id in [role["id"] for role in user.get("role_list", [])]:
                yield {"userid": user["userid"], "name": user["name"]}

    async def visible_scope(self) -> dict[str, Any]:
        self._called("auth/scopes")
        return {"authed_dept": self.scope, "authed_user": []}

    def _get(self, api: str, missing: int, known: dict[Any, dict[str, Any]], key: Any) -> dict[str, Any]:
        self._called(api)
        if key in self.hidden:
            raise PermissionDenied("out of scope", api=api, errcode=50002, about="entity")
        if key not in known:
            raise NotFound("no such thing", api=api, errcode=missing)
        return orjson.loads(orjson.dumps(known[key]))

    def hire(self, userid: str, **changes: Any) -> dict[str, Any]:
        """A user with every field, and ``changes``; a value of ``...`` leaves the field out."""
        number = len(self.users) + 1
        whole = {
            "userid": userid,
            "unionid": f"union-{userid}",
            "name": f"张{userid}",
            "mobile": f"1000000{number:04d}",
            "job_number": f"E{number:05d}",
            "title": "工程师",
            "email": f"{userid}@example.com",
            "manager_userid": "u-boss",
            "dept_id_list": [1],
            "dept_order_list": [{"dept_id": 1, "order": 176362815343598512}],
            "leader_in_dept": [{"dept_id": 1, "leader": False}],
            "hired_date": 1597573616828,
            "active": True,
            "admin": False,
            "boss": False,
            "senior": False,
        } | changes
        self.users[userid] = {name: value for name, value in whole.items() if value is not ...}
        return self.users[userid]

    def grant(self, userid: str, *role_ids: int) -> None:
        """Give the user these roles and no other."""
        self.users[userid]["role_list"] = [
            {"id": role_id, "name": self.roles[role_id], "group_name": "职务"} for role_id in role_ids
        ]

    def department_of(self, dept_id: int, name: str, parent: int = 1) -> dict[str, Any]:
        row = {"dept_id": dept_id, "name": name, "parent_id": parent, "dept_manager_userid_list": []}
        self.departments[dept_id] = row
        return row


def listed(user: dict[str, Any], dept_id: int) -> dict[str, Any]:
    """The user as ``v2/user/list`` shows him (queries-the-complete-information-of-a-department-user)."""
    only_details = ("manager_userid", "dept_order_list", "leader_in_dept", "role_list", "senior")
    item = {name: value for name, value in user.items() if name not in only_details}
    leads = {entry["dept_id"]: entry["leader"] for entry in user.get("leader_in_dept", [])}
    orders = {entry["dept_id"]: entry["order"] for entry in user.get("dept_order_list", [])}
    return item | {"leader": leads.get(dept_id, False), "dept_order": orders.get(dept_id)}


def events(event_type: str, *ids: str | int, at_ms: int = 1731000000123, **more: Any) -> list[Event]:
    """The decoded events of one callback about ``ids``, by way of the real normalisation."""
    ids_name = "UserIdList" if event_type == "label_user_change" else "UserId"
    if event_type.startswith("org_dept"):
        ids_name = "DeptId"
    elif event_type.startswith("label_conf"):
        ids_name = "LabelIdList"
    payload = {"EventType": event_type, "TimeStamp": str(at_ms), "CorpId": CORP, ids_name: list(ids), **more}
    if not ids:
        del payload[ids_name]
    received = Received(
        seq=next(_seq),
        journal="j1",
        received_ms=at_ms + 50,
        app="default",
        via="http",
        body=orjson.dumps(payload),
    )
    return [decode(record.value) for record in to_records(received)]


def event(event_type: str, an_id: str | int, at_ms: int = 1731000000123, **more: Any) -> Event:
    """``events`` for one id."""
    (one,) = events(event_type, an_id, at_ms=at_ms, **more)
    return one


def order(id, corp_id=None, app="default", part="all", reason="a page may be gone"):
    """A request of the bridge to compare everything, as it stands in the inbox."""
    now_ms = int(time.time() * 1000)
    return resync_requested(
        id=id, app=app, corp_id=corp_id, now_ms=now_ms, since_ms=0, part=part, reason=reason
    )
