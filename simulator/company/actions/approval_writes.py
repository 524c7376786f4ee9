"""What the Open API's newer host does with approvals, by DingTalk's rules and with its codes.

Pages: create-an-approval-instance, revoke-an-approval-instance, approve-or-reject-the-approval-task.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from dingbridge.simulator.call import Call
from dingbridge.simulator.company.actions.approvals import ApprovalActions
from dingbridge.simulator.company.actions.base import Written
from dingbridge.simulator.company.company import ROOT
from dingbridge.simulator.company.documents import Approval
from dingbridge.simulator.company.templates import TEMPLATES, FormValue
from dingbridge.simulator.errors import NewerError

_MOST_FIELDS: Final = 150
_MOST_APPROVERS: Final = 20


class ApprovalWrites(ApprovalActions):
    """Each call takes its parameters and gives what it did. Raises ``NewerError``, and nothing has
    changed."""

    def calls(self) -> dict[str, Callable[[Call], Written]]:
        """By path."""
        return {
            "/v1.0/workflow/processInstances": self._start,
            "/v1.0/workflow/processInstances/terminate": self._terminate,
            "/v1.0/workflow/processInstances/execute": self._execute,
        }

    def _start(self, call: Call) -> Written:
        body = call.body
        originator = self._company.users.get(str(body.get("originatorUserId") or ""))
        if originator is None:
            raise NewerError("invalidParameter", "originatorUserId不存在")
        if body.get("processCode") not in TEMPLATES:
            raise NewerError("processCodeError", "processCode不存在")
        form = _form(body.get("formComponentValues"), TEMPLATES[body["processCode"]].fields())
        steps, of_all = self._steps(body.get("approvers"))
        if "deptId" not in body and not steps:
            raise NewerError("invalidParameter", "未指定审批人时deptId必填")
        dept_id = call.number("deptId", originator.dept_ids[0])
        dept_id = ROOT if dept_id == -1 else dept_id
        if dept_id not in self._company.departments:
            raise NewerError("invalidParameter", "deptId不存在")
        at_ms = self._now()
        approval = self._approvals.start(
            at_ms,
            originator=originator,
            process_code=body["processCode"],
            dept_id=dept_id,
            form=form,
            steps=steps or None,
            of_all=of_all,
            by_api=True,
            cc=self._cc(body.get("ccList")),
        )
        instance_id = approval.instance_id
        return Written({"instanceId": instance_id}, self._started(approval, at_ms), instance_id)

    def _steps(self, approvers: Any) -> tuple[list[list[str]], set[int]]:
        """The approvers of each step, and the steps in which all must agree."""
        steps: list[list[str]] = []
        of_all: set[int] = set()
        if approvers is None:
            return steps, of_all
        if not isinstance(approvers, list) or len(approvers) > _MOST_APPROVERS:
            raise NewerError("invalidParameter", "approvers")
        for node in approvers:
            userids = node.get("userIds") if isinstance(node, dict) else None
            if not isinstance(userids, list) or not userids or not self._company.users.keys() >= {*userids}:
                raise NewerError("invalidParameter", "approvers中的userIds不存在")
            kind = node.get("actionType")
            if kind not in ("AND", "OR", "NONE") or (kind == "NONE") != (len(userids) == 1):
                raise NewerError("invalidParameter", "approvers中的actionType")
            if kind == "AND":
                of_all.add(len(steps))
            steps.append(userids)
        return steps, of_all

    def _cc(self, userids: Any) -> list[str]:
        """Who gets a copy; at the start or the end (``ccPosition``), which is not in the detail."""
        if userids is None:
            return []
        if not isinstance(userids, list) or not self._company.users.keys() >= {*userids}:
            raise NewerError("invalidParameter", "ccList中的userId不存在")
        return userids

    def _terminate(self, call: Call) -> Written:
        approval = self._running(call)
        if not call.flag("isSystem"):
            if not call.body.get("operatingUserId"):
                raise NewerError("invalidInstanceTerminateOperatingUserId", "操作人的userId不能为空")
            if call.body["operatingUserId"] != approval.originator:
                raise NewerError("internalError", "您没有任务处理的权限")
        events = self._revoke(approval, str(call.body.get("remark") or ""))
        return Written({"result": True, "success": True}, events, approval.instance_id)

    def _execute(self, call: Call) -> Written:
        body = call.body
        if body.get("result") not in ("agree", "refuse"):
            raise NewerError("invalidInstanceExecuteResult", "审批操作取值必须为agree或refuse")
        if body.get("actionerUserId") not in self._company.users:
            raise NewerError("userNotExist", "用户不存在")
        approval = self._running(call)
        task = next((t for t in approval.open_tasks() if t.number == call.number("taskId", 0)), None)
        if task is None:
            raise NewerError("aflowProcessInstCanNotBeExecuted", "任务不存在或已处理")
        if task.userid != body["actionerUserId"]:
            raise NewerError("needAuth", "没有同意拒绝审批的权限")
        remark = str(body.get("remark") or "")
        events = self._decide(approval, body["result"] == "agree", remark, None, task)
        return Written({"result": True, "success": True}, events, approval.instance_id)

    def _running(self, call: Call) -> Approval:
        instance_id = str(call.body.get("processInstanceId") or "")
        if self._approvals.get(instance_id) is None:
            raise NewerError("aflowProcessInstNotExist", "审批实例不存在")
        if instance_id not in self._approvals.running:
            raise NewerError("aflowProcessInstStatusException", "审批单已结束")
        return self._approvals.running[instance_id]


def _form(values: Any, fields: dict[str, FormValue]) -> list[FormValue]:
    """What is given of a form, as the form has it. Raises ``NewerError`` for a field that it has not."""
    if not isinstance(values, list) or not 1 <= len(values) <= _MOST_FIELDS:
        raise NewerError("invalidParameter", "formComponentValues")
    form: list[FormValue] = []
    for given in values:
        name = given.get("name") if isinstance(given, dict) else None
        if name not in fields or not isinstance(given.get("value"), str):
            raise NewerError("formConverterError", "表单组件不存在或值不是文本")
        known = fields[name]
        if known["componentType"] == "DDAttachment" and not _is_files(given["value"]):
            raise NewerError("formConverterError", f"{name}不是附件的JSON")
        form.append({**{k: known[k] for k in ("id", "name", "componentType")}, "value": given["value"]})
    return form


def _is_files(value: str) -> bool:
    """Whether it is the JSON of files, by their ids and sizes."""
    try:
        files = json.loads(value)
    except ValueError:
        return False
    return isinstance(files, list) and all(
        isinstance(file, dict)
        and str(file.get("spaceId")).isdecimal()
        and str(file.get("fileSize")).isdecimal()
        and {"fileId", "fileName"} <= file.keys()
        for file in files
    )
