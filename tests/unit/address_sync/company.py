"""A company for address-sync's tests: the methods of the DingTalk client it calls, and events to deliver."""

import itertools
from collections import Counter
from typing import Any

import orjson

from dingtalk.errors import NotFound, PermissionDenied
from schemas.event import Event, decode
from schemas.records import Received, to_records

CORP = "dingcorp01"
_seq = itertools.count(1)


class Company:
    """The state of a company, as the Open API would show it. ``calls`` counts by API name."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.departments: dict[int, dict[str, Any]] = {1: {"dept_id": 1, "name": "示例公司"}}
        self.hidden: set[str | int] = set()
        self.calls: Counter[str] = Counter()

    async def user(self, userid: str) -> dict[str, Any]:
        return self._get("v2/user/get", 60121, self.users, userid)

    async def department(self, dept_id: int) -> dict[str, Any]:
        return self._get("v2/department/get", 60003, self.departments, dept_id)

    def _get(self, api: str, missing: int, known: dict[Any, dict[str, Any]], key: Any) -> dict[str, Any]:
        self.calls[api] += 1
        if key in self.hidden:
            raise PermissionDenied("out of scope", api=api, errcode=50002)
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

    def department_of(self, dept_id: int, name: str, parent: int = 1) -> dict[str, Any]:
        row = {"dept_id": dept_id, "name": name, "parent_id": parent, "dept_manager_userid_list": []}
        self.departments[dept_id] = row
        return row


def events(event_type: str, *ids: str | int, at_ms: int = 1731000000123, **more: Any) -> list[Event]:
    """The decoded events of one callback about ``ids``, by way of the real normalisation."""
    ids_name = "UserIdList" if event_type == "label_user_change" else "UserId"
    if event_type.startswith("org_dept"):
        ids_name = "DeptId"
    payload = {"EventType": event_type, "TimeStamp": str(at_ms), "CorpId": CORP, ids_name: list(ids), **more}
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
