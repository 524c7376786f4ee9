"""What DingTalk pushes: the plaintext of each event, in both payload generations, and its failed-list item.

Responsible for shapes only. The forms differ in spelling, in types, in order and in which ids they carry:

========  =====================================================================================
old       captured of HTTP, 2018-2023: contact events PascalCase with ``TimeStamp`` (text, ms),
          ``OptStaffId``; approval events camelCase with ``corpId``; no event id at all; the order
          of fields is a matter of the year
new       the "HTTP推送" samples of today's documents: ``EventTime`` (int, ms), ``CorpId``, ``BizId``,
          ``eventId``, then camelCase fields
Stream    captured, 2023-2025: what ``pushes/frames`` takes into a frame's headers first
          (``EventType``, ``EventTime``, ``CorpId``), then its ``data``: ``eventId``, no ``BizId``, for
          approvals ``resource`` and the node of the process
========  =====================================================================================
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal

from dingbridge.simulator.company.documents import Approval, Task

TIMESTAMPED: Final = frozenset(
    {"user_add_org", "user_modify_org", "user_leave_org", "org_admin_add", "org_admin_remove"}
)
"""Types whose new form has a ``timeStamp`` beside ``EventTime`` (the documents' samples)."""

_CONTACTS: Final[Sequence[Sequence[str]]] = (
    (  # 2018 and 2019
        "TimeStamp", "CorpId", "UserId", "DeptId", "UserIdList", "LabelIdList", "PreLabelList",
        "PostLabelList", "diffInfo", "action", "scope", "OptStaffId", "EventType",
    ),
    (  # 2021 and 2022
        "PostLabelList", "UserIdList", "CorpId", "EventType", "PreLabelList", "UserId", "DeptId",
        "LabelIdList", "diffInfo", "OptStaffId", "action", "scope", "TimeStamp",
    ),
)  # fmt: skip
"""The captured orders of contact events; approvals have had one since July 2019."""
_APPROVALS: Final = (
    "processInstanceId", "finishTime", "corpId", "EventType", "businessId", "remark", "content", "title",
    "type", "url", "result", "createTime", "processCode", "bizCategoryId", "businessType", "staffId",
    "taskId",
)  # fmt: skip
_STREAM: Final = (
    "EventType", "EventTime", "CorpId", "action", "deptId", "diffInfo", "processInstanceId", "eventId",
    "finishTime", "resource", "businessId", "activityName", "actualActionerId", "agentActionerIds",
    "remark", "content", "title", "type", "url", "result", "activityId", "createTime", "processCode",
    "bizCategoryId", "businessType", "staffId", "taskId", "labelIdList", "optStaffId", "postLabelList",
    "preLabelList", "scope", "timeStamp", "userId", "userIdList",
)  # fmt: skip
_BORN_MS: Final = 3
"""How long after its own ``timeStamp`` a Stream event is born (captured)."""
_HR_SHARE: Final = 0.2
"""Of those who join, the share for whom there is no ``OptStaffId``: they come by Smart HR (a client's
comment)."""


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
    """Makes events of one company; ``noise`` decides ids, the year whose order of fields the old form has,
    and for ``mixed`` each event's generation. With ``stream`` set, events have the form of Stream's frames,
    which knows no generations."""

    def __init__(
        self,
        corp_id: str,
        generation: Literal["old", "new", "mixed"],
        noise: Random,
    ) -> None:
        self.corp_id = corp_id
        self.generation = generation
        self.stream = False
        self._noise = noise

    def _draw(self) -> tuple[str, Sequence[str], str]:
        """The generation of the next event, the order of fields of a contact event, and its id. The draws are
        the same whatever is done with them, so a recorded life has them again."""
        drawn = "old" if self._noise.random() < 0.5 else "new"
        order, event_id = self._noise.choice(_CONTACTS), f"{self._noise.getrandbits(128):032x}"
        return drawn if self.generation == "mixed" else self.generation, order, event_id

    def _make(
        self, event_type: str, at_ms: int, fields: dict[str, Any], old: dict[str, Any], only: dict[str, Any]
    ) -> PlatformEvent:
        """``fields`` in today's spelling; ``old`` what the old form has instead, without type and company;
        ``only`` what Stream has beside ``fields``."""
        generation, contacts, event_id = self._draw()
        corp = "corpId" if event_type.startswith("bpms_") else "CorpId"
        if self.stream:
            born = {"EventType": event_type, "EventTime": at_ms, "CorpId": self.corp_id}
            payload = _ordered(born | fields | only | {"eventId": event_id}, _STREAM)
        elif generation == "old":
            order = _APPROVALS if corp == "corpId" else contacts
            payload = _ordered(old | {"EventType": event_type, corp: self.corp_id}, order)
        else:
            head = {"EventType": event_type, "EventTime": at_ms, "CorpId": self.corp_id}
            payload = head | {"BizId": str(at_ms)[:10], "eventId": event_id} | fields
        return PlatformEvent(event_type, payload, at_ms, self.corp_id)

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
        by_hr = self._noise.random() < _HR_SHARE
        if by_hr and event_type == "user_add_org":
            operator = ""
        change = None
        if diff is not None and users:
            change = {"prev": diff[0], "curr": diff[1], "userid": users[0]}
        fields: dict[str, Any] = {}
        old: dict[str, Any] = {"TimeStamp": str(at_ms)}
        stream: dict[str, Any] = {"timeStamp": str(at_ms - _BORN_MS)}
        if event_type in TIMESTAMPED:
            fields["timeStamp"] = str(at_ms)
        if change is not None:
            fields["diffInfo"] = change
            old["diffInfo"] = stream["diffInfo"] = [change]  # a list in captures, an object in the documents
        if users is not None:
            fields["userId"] = old["UserId"] = users
        if departments is not None:
            fields["deptId"] = old["DeptId"] = departments
        if operator:
            old["OptStaffId"] = stream["optStaffId"] = operator
        return self._make(event_type, at_ms, fields, old, stream)

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
        fields: dict[str, Any] = {}
        if users is not None:
            fields["userIdList"] = users
        if changed is not None:
            fields["preLabelList"], fields["postLabelList"] = changed
        fields["labelIdList"] = labels
        plain = {"action": action} if action is not None else {}
        plain |= {"scope": scope} if scope is not None else {}
        old = {name[:1].upper() + name[1:]: value for name, value in fields.items()}
        stream = {"timeStamp": str(at_ms - _BORN_MS)}
        return self._make(event_type, at_ms, fields | plain, old | plain | {"TimeStamp": str(at_ms)}, stream)

    def comment(self, approval: Approval, userid: str, text: str, at_ms: int) -> PlatformEvent:
        """``bpms_task_change`` of type comment: no task, no result; two of one person differ by time and
        text only (captured in 2017, in none of today's documents), so its time is not cut to the second."""
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
            "createTime": _second(approval.created_ms),
        }
        if kind in ("finish", "terminate"):
            fields["finishTime"] = _second(at_ms)
        if kind == "finish":
            fields["result"] = approval.result
        fields |= {"title": approval.title, "type": kind, "staffId": approval.originator}
        fields |= {"processCode": approval.process_code, "bizCategoryId": ""}
        if kind != "delete":  # which has neither (captured)
            fields["url"] = (
                "https://aflow.dingtalk.com/dingtalk/mobile/homepage.htm"
                f"?corpid={self.corp_id}&procInstId={approval.instance_id}"
            )
            fields["businessId"] = approval.business_id
        return self._approval("bpms_instance_change", fields, at_ms, {"businessType": ""})

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
            "createTime": _second(task.created_ms),
        }
        stream: dict[str, Any] = {
            "businessType": "",
            "activityId": f"activity-{task.step}",
            "activityName": "审批人",
        }
        if kind != "start":
            fields["finishTime"] = _second(at_ms)
        if kind == "finish":
            fields["result"] = {"AGREE": "agree", "REFUSE": "refuse", "REDIRECTED": "redirect"}[task.result]
            stream |= {"actualActionerId": task.userid, "agentActionerIds": []}
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
        return self._approval("bpms_task_change", fields, at_ms, stream)

    def _approval(
        self, event_type: str, fields: dict[str, Any], at_ms: int, stream: Mapping[str, Any] | None = None
    ) -> PlatformEvent:
        path = f"/v1.0/event/{event_type}/processCode/{fields['processCode']}/type/{fields['type']}"
        return self._make(event_type, at_ms, fields, dict(fields), {**(stream or {}), "resource": path})


def _ordered(payload: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    return {name: payload[name] for name in order if name in payload} | payload


def _second(at_ms: int) -> int:
    """Approvals' times are whole seconds (captured)."""
    return at_ms // 1000 * 1000


def failed_item(event: PlatformEvent) -> dict[str, Any]:
    """The event as ``get_call_back_failed_result`` lists it: not the pushed shape, and poorer.

    Approval events are whole under ``bpmsCallBackData``, as captured items have them (the documents leave
    its content open), in the old form and without any event id. Users stand as ``userid``, changes of roles
    under ``roleLabelChange``; everything else under ``callbackData``. The order is that of captures, which
    the documents print the other way round; of an approval's end ``event_time`` is a second earlier
    (captured).
    """
    content: dict[str, Any]
    payload = event.payload
    users = payload.get("UserId", payload.get("userId"))
    if event.event_type.startswith("label_"):
        names = ("LabelIdList", "labelIdList"), ("UserIdList", "userIdList"), ("action",), ("scope",)
        found = {n[-1]: payload[k] for n in names for k in n if k in payload}
        content = {"roleLabelChange": found}
    elif event.event_type.startswith("bpms_"):
        data = payload | {"corpId": event.corp_id}
        content = {"bpmsCallBackData": {name: data[name] for name in _APPROVALS if name in data}}
    elif users is not None:
        content = {"userid": users}
    else:
        departments = payload.get("DeptId", payload.get("deptId"))
        content = {"callbackData": {} if departments is None else {"deptid": departments}}
    return {
        "event_time": event.time_ms - (1000 if "finishTime" in payload else 0),
        "call_back_tag": event.event_type,
        event.event_type: {"corpid": event.corp_id} | content,
    }
