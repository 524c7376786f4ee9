"""Reading approvals and to-dos on the newer host: query-approval-instance-details (GET), obtain-an-approval-
list-of-instance-ids, query-the-to-do-list-of-enterprise-users."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from simulator.api.calls import Routes
from simulator.call import Answer, Call
from simulator.company.approvals import Approvals, iso_text
from simulator.company.sight import Sight
from simulator.company.templates import TEMPLATES
from simulator.company.todos import QUERY, Todos
from simulator.errors import NewerError

_PAGE: Final = 20
_DAY_MS: Final = 86_400_000


class WorkflowCalls:
    """The calls. ``now_ms`` is the company's clock."""

    def __init__(self, approvals: Approvals, sight: Sight, todos: Todos, now_ms: Callable[[], int]) -> None:
        self._approvals, self._sight = approvals, sight
        self._todos = todos
        self._now_ms = now_ms

    def routes(self) -> Routes:
        return [
            ("GET", "/v1.0/workflow/processInstances", self._get),
            ("POST", "/v1.0/workflow/processes/instanceIds/query", self._ids),
            ("POST", QUERY, self._query),
        ]

    async def _query(self, call: Call) -> Answer:
        return self._todos.query(call)

    async def _get(self, call: Call) -> Answer:
        approval = self._sight.approval(str(call.body.get("processInstanceId") or ""))
        if approval is None:
            raise NewerError("aflowProcessInstNotExist", "审批实例不存在")
        older = self._approvals.result(approval)
        result: dict[str, Any] = {
            "title": approval.title,
            "createTime": iso_text(approval.created_ms),
            "originatorUserId": approval.originator,
            "originatorDeptId": older["originator_dept_id"],
            "originatorDeptName": approval.dept_name,
            "status": approval.status,
            "result": approval.result,
            "businessId": approval.business_id,
            "approverUserIds": older["approver_userids"],
            "ccUserIds": [],
            "attachedProcessInstanceIds": [],
            "bizAction": "NONE",
            "formComponentValues": [_camel(field) for field in approval.form],
            "operationRecords": [_camel(record) for record in approval.records],
            "tasks": [
                {
                    "taskId": task.number,
                    "userId": task.userid,
                    "status": task.status,
                    "result": task.result,
                    "activityId": f"activity-{task.step}",
                    "processInstanceId": approval.instance_id,
                    "createTime": iso_text(task.created_ms),
                    **({} if task.finished_ms is None else {"finishTime": iso_text(task.finished_ms)}),
                }
                for task in approval.tasks
            ],
        }
        if approval.finished_ms is not None:
            result["finishTime"] = iso_text(approval.finished_ms)
        return {"result": result, "success": True}

    async def _ids(self, call: Call) -> Answer:
        body, now = call.body, self._now_ms()
        first, size = call.number("nextToken", 0), call.number("maxResults", _PAGE)
        start = call.number("startTime")
        end = call.number("endTime", now)
        if body.get("processCode") not in TEMPLATES or not 1 <= size <= _PAGE or first < 0:
            raise NewerError("invalidParameter", "processCode, maxResults, nextToken")
        if end < start or end - start > 120 * _DAY_MS or now - start > 365 * _DAY_MS:
            raise NewerError("invalidParameter", "startTime, endTime")
        wanted, statuses = body.get("userIds") or [], body.get("statuses") or []
        found = [
            approval.instance_id
            for approval in self._sight.approvals()
            if approval.process_code == body["processCode"]
            and start <= approval.created_ms <= end
            and (not wanted or approval.originator in wanted)
            and (not statuses or approval.status in statuses)
        ]
        more = {"nextToken": str(first + size)} if first + size < len(found) else {}
        return {"result": {"list": found[first : first + size], **more}, "success": True}


_CAMEL: Final = {
    "component_type": "componentType",
    "ext_value": "extValue",
    "userid": "userId",
    "operation_type": "type",
    "operation_result": "result",
}
"""Names that the older host has, and what this one calls them."""


def _camel(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {_CAMEL.get(name, name): value for name, value in shown.items()}
