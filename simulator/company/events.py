"""What DingTalk pushes: the plaintext of each event, in both payload generations, and its failed-list item.

Responsible for shapes only. The two generations (captured wire data of 2017–2023, and the "HTTP推送" samples
of today's documents) differ in spelling, in types and in which ids they carry:

========  =====================================================================================
old       contact events PascalCase with ``TimeStamp`` (text, ms), ``OptStaffId``; approval events
          camelCase with ``corpId``; no event id at all
new       ``EventTime`` (int, ms), ``CorpId``, ``BizId``, ``eventId``, then camelCase fields
========  =====================================================================================
"""

import json
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal

from simulator.company.documents import Approval, Task

Generation = Literal["old", "new"]

TIMESTAMPED: Final = frozenset(
    {"user_add_org", "user_modify_org", "user_leave_org", "org_admin_add", "org_admin_remove"}
)
"""Types whose new form has a ``timeStamp`` beside ``EventTime`` (the documents' samples)."""


@dataclass(frozen=True, slots=True)
class PlatformEvent:
    """One event. ``payload`` is what is pushed, in DingTalk's order of fields; ``time_ms`` its own time."""

    event_type: str
    payload: dict[str, Any]
    time_ms: int
    corp_id: str

    def plaintext(self) -> bytes:
        """Compact UTF-8 JSON, the bytes that are encrypted; a repeated push repeats them."""
        return json.dumps(self.payload, ensure_ascii=False, separators=(",", ":")).encode()


class EventShaper:
    """Makes events of one company; ``noise`` decides ids and, for ``mixed``, each event's generation."""

    def __init__(self, corp_id: str, generation: Literal["old", "new", "mixed"], noise: Random) -> None:
        self.corp_id = corp_id
        self.generation = generation
        self._noise = noise

    def _pick(self) -> Generation:
        if self.generation == "mixed":
            return "old" if self._noise.random() < 0.5 else "new"
        return self.generation

    def _new(self, event_type: str, at_ms: int) -> dict[str, Any]:
        return {
            "EventType": event_type,
            "EventTime": at_ms,
            "CorpId": self.corp_id,
            "BizId": str(at_ms)[:10],
            "eventId": f"{self._noise.getrandbits(128):032x}",
        }

    def _event(self, payload: dict[str, Any], at_ms: int) -> PlatformEvent:
        return PlatformEvent(payload["EventType"], payload, at_ms, self.corp_id)

    def contact(
        self,
        event_type: str,
        at_ms: int,
        *,
        users: list[str] | None = None,
        departments: list[int] | None = None,
        operator: str = "",
        diff: tuple[dict[str, str], dict[str, str]] | None = None,
    ) -> PlatformEvent:
        """A ``user_*``, ``org_dept_*`` or ``org_change`` event: ids only, the receiver has to look.

        ``diff`` (previous, current) goes with a change to a single user.
        """
        change = None
        if diff is not None and users:
            change = {"prev": diff[0], "curr": diff[1], "userid": users[0]}
        if self._pick() == "old":
            payload: dict[str, Any] = {"EventType": event_type, "TimeStamp": str(at_ms)}
            if users is not None:
                payload["UserId"] = users
            if departments is not None:
                payload["DeptId"] = departments
            payload["CorpId"] = self.corp_id
            if operator:
                payload["OptStaffId"] = operator
            if change is not None:
                payload["diffInfo"] = [change]  # a list in captures, an object in the documents
            return self._event(payload, at_ms)
        payload = self._new(event_type, at_ms)
        if event_type in TIMESTAMPED:
            payload["timeStamp"] = str(at_ms)
        if change is not None:
            payload["diffInfo"] = change
        if users is not None:
            payload["userId"] = users
        if departments is not None:
            payload["deptId"] = departments
        return self._event(payload, at_ms)

    def label(
        self,
        event_type: str,
        at_ms: int,
        labels: list[int],
        *,
        users: list[str] | None = None,
        action: str | None = None,
        scope: str | None = None,
        changed: tuple[list[str], list[str]] | None = None,
    ) -> PlatformEvent:
        """A ``label_*`` event: roles by id; ``changed`` is the roles before and after, each as JSON text."""
        old = self._pick() == "old"
        fields: dict[str, Any] = {}
        if users is not None:
            fields["UserIdList" if old else "userIdList"] = users
        if changed is not None:
            fields["PreLabelList" if old else "preLabelList"] = changed[0]
            fields["PostLabelList" if old else "postLabelList"] = changed[1]
        fields["LabelIdList" if old else "labelIdList"] = labels
        fields |= {"action": action} if action is not None else {}
        fields |= {"scope": scope} if scope is not None else {}
        if old:
            head = {"EventType": event_type, "TimeStamp": str(at_ms)}
            return self._event(head | fields | {"CorpId": self.corp_id}, at_ms)
        return self._event(self._new(event_type, at_ms) | fields, at_ms)

    def comment(self, approval: Approval, userid: str, text: str, at_ms: int) -> PlatformEvent:
        """``bpms_task_change`` of type comment: no task, no result; two of one person differ by time and
        text only (captured in 2017, in none of today's documents)."""
        fields = {
            "processInstanceId": approval.instance_id,
            "createTime": at_ms,
            "title": approval.title,
            "type": "comment",
            "staffId": userid,
            "content": text,
            "processCode": approval.process_code,
            "bizCategoryId": "",
        }
        return self._approval("bpms_task_change", fields, at_ms)

    def instance(
        self, approval: Approval, kind: Literal["start", "finish", "terminate", "delete"], at_ms: int
    ) -> PlatformEvent:
        """``bpms_instance_change``. A revoked one ends by ``terminate``, which has no ``result``."""
        fields: dict[str, Any] = {
            "processInstanceId": approval.instance_id,
            "createTime": approval.created_ms,
        }
        if kind in ("finish", "terminate"):
            fields["finishTime"] = at_ms
        if kind == "finish":
            fields["result"] = approval.result
        fields |= {
            "title": approval.title,
            "type": kind,
            "staffId": approval.originator,
            "url": "https://aflow.dingtalk.com/dingtalk/mobile/homepage.htm"
            f"?corpid={self.corp_id}&procInstId={approval.instance_id}",
            "processCode": approval.process_code,
            "businessId": approval.business_id,
            "bizCategoryId": "",
        }
        return self._approval("bpms_instance_change", fields, at_ms)

    def task(
        self,
        approval: Approval,
        task: Task,
        kind: Literal["start", "finish", "cancel"],
        at_ms: int,
        remark: str = "",
    ) -> PlatformEvent:
        """``bpms_task_change``: ``finish`` has a result of agree, refuse or redirect (handed over)."""
        fields: dict[str, Any] = {
            "taskId": task.number,
            "processInstanceId": approval.instance_id,
            "createTime": task.created_ms,
        }
        if kind != "start":
            fields["finishTime"] = at_ms
        if kind == "finish":
            fields["result"] = {"AGREE": "agree", "REFUSE": "refuse", "REDIRECTED": "redirect"}[task.result]
        if remark:
            fields["remark"] = remark
        fields |= {
            "title": approval.title,
            "type": kind,
            "staffId": task.userid,
            "processCode": approval.process_code,
            "businessId": approval.business_id,
            "bizCategoryId": "",
        }
        return self._approval("bpms_task_change", fields, at_ms)

    def _approval(self, event_type: str, fields: dict[str, Any], at_ms: int) -> PlatformEvent:
        if self._pick() == "old":
            return self._event({"EventType": event_type, **fields, "corpId": self.corp_id}, at_ms)
        return self._event(self._new(event_type, at_ms) | fields, at_ms)


def failed_item(event: PlatformEvent) -> dict[str, Any]:
    """The event as ``get_call_back_failed_result`` lists it: not the pushed shape, and poorer.

    Approval events are whole under ``bpmsCallBackData``, as captured items have them (the documents leave
    its content open), in the old form and without any event id. Users stand as ``userid``, changes of roles
    under ``roleLabelChange``; everything else under ``callbackData``.
    """
    content: dict[str, Any]
    payload = event.payload
    users = payload.get("UserId", payload.get("userId"))
    if event.event_type.startswith("label_"):
        names = ("LabelIdList", "labelIdList"), ("UserIdList", "userIdList"), ("action",), ("scope",)
        found = {n[-1]: payload[k] for n in names for k in n if k in payload}
        content = {"roleLabelChange": found}
    elif event.event_type.startswith("bpms_"):
        ids = ("EventTime", "CorpId", "BizId", "eventId")
        data = {key: value for key, value in payload.items() if key not in ids}
        content = {"bpmsCallBackData": data | {"corpId": event.corp_id}}
    elif users is not None:
        content = {"userid": users}
    else:
        departments = payload.get("DeptId", payload.get("deptId"))
        content = {"callbackData": {} if departments is None else {"deptid": departments}}
    return {
        event.event_type: content | {"corpid": event.corp_id},
        "call_back_tag": event.event_type,
        "event_time": event.time_ms,
    }
