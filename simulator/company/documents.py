"""One approval: what is known of it, and how the Open API's newer host shows it
(obtains-the-details-of-a-single-approval-instance-pop).

Where captures show less or other than the page, they are followed: lists that are empty and fields that do
not apply are absent, approvers are named of instances that an app started only, and times are China's clock
with a ``Z`` that is not true.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any, Final, Literal

from dingbridge.simulator.company.templates import FormValue

SHANGHAI: Final = timezone(timedelta(hours=8))  # no summer time since 1991
BizAction = Literal["NONE", "MODIFY", "REVOKE"]
_SHOWN: Final = {
    "START_PROCESS_INSTANCE": "提交申请",
    "EXECUTE_TASK_NORMAL": "审批人",
    "REDIRECT_TASK": "转交",
    "ADD_REMARK": "评论",
    "TERMINATE_PROCESS_INSTANCE": "撤销",
}
"""``showName`` of records; only the first is captured."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file; ``size`` in bytes, as the approval says it."""

    space_id: str
    file_id: str
    name: str
    size: int

    def content(self) -> bytes:
        """The file. Always the same bytes for the same id; nothing that a program could open."""
        return Random(f"file {self.file_id}").randbytes(self.size)  # noqa: S311


@dataclass(slots=True)
class Task:
    """One approver's part. ``number`` is its ``taskId``."""

    number: int
    userid: str
    step: int
    created_ms: int
    finished_ms: int | None = None
    status: Literal["RUNNING", "COMPLETED", "CANCELED"] = "RUNNING"
    result: Literal["NONE", "AGREE", "REFUSE", "REDIRECTED"] = "NONE"


@dataclass(slots=True)
class Record:
    """One line of an approval's history; ``step`` is that of the task it is about, if it is about one."""

    userid: str
    at_ms: int
    kind: str
    outcome: str = "NONE"
    remark: str = ""
    step: int | None = None
    files: Sequence[Attachment] = ()


@dataclass(slots=True)
class Approval:
    """One approval instance. ``steps`` holds the userids of each step's approvers; in those of ``of_all`` all
    must agree, in the others one. ``by_api``: an app started it. One that was approved is changed or revoked
    by another instance, whose ``main`` it is and whose id is then among its ``attached``."""

    instance_id: str
    process_code: str
    business_id: str
    title: str
    originator: str
    dept_id: int
    dept_name: str
    form: list[FormValue]
    steps: list[list[str]]
    created_ms: int
    finished_ms: int | None = None
    status: Literal["RUNNING", "COMPLETED", "TERMINATED"] = "RUNNING"
    result: Literal["", "agree", "refuse"] = ""
    tasks: list[Task] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    of_all: set[int] = field(default_factory=set)
    by_api: bool = False
    cc: Sequence[str] = ()
    biz_action: BizAction = "NONE"
    main: str | None = None
    attached: list[str] = field(default_factory=list)

    def open_tasks(self) -> list[Task]:
        return [task for task in self.tasks if task.status == "RUNNING"]

    def activity_id(self, step: int) -> str:
        """The id of a step: a node of the template, so the same for all of its approvals."""
        node = zlib.crc32(f"{self.process_code} {step}".encode())
        return f"sid-{node >> 16:04X}_{node & 0xFFFF:04x}"

    def attachments(self) -> list[Attachment]:
        """The files of the form, in its order."""
        return [
            Attachment(str(entry["spaceId"]), str(entry["fileId"]), entry["fileName"], int(entry["fileSize"]))
            for component in self.form
            if component["componentType"] == "DDAttachment"
            for entry in json.loads(component["value"])
        ]

    def comment_files(self) -> list[Attachment]:
        """The files of comments, the oldest first."""
        return [file for record in self.records for file in record.files]


def stamp(at_ms: int, true_z: bool = False) -> str:
    """``2024-11-08T10:00Z``: a time as the newer host prints it, to the minute; 02:00 by ``true_z``."""
    return datetime.fromtimestamp(at_ms / 1000, UTC if true_z else SHANGHAI).strftime("%Y-%m-%dT%H:%MZ")


def document(approval: Approval, *, true_z: bool = False) -> dict[str, Any]:
    """``result`` of the page, which does not say of which template it is."""
    shown: dict[str, Any] = {
        "attachedProcessInstanceIds": list(approval.attached),
        "bizAction": approval.biz_action,
        "bizData": "{}",
        "businessId": approval.business_id,
        "createTime": stamp(approval.created_ms, true_z),
        "formComponentValues": approval.form,
        "operationRecords": [_record(approval, record, true_z) for record in approval.records],
        # the root department has its own way to be written here
        "originatorDeptId": "-1" if approval.dept_id == 1 else str(approval.dept_id),
        "originatorDeptName": approval.dept_name,
        "originatorUserId": approval.originator,
        "result": approval.result,
        "status": approval.status,
        "tasks": [_task(approval, task, true_z) for task in approval.tasks],
        "title": approval.title,
    }
    if approval.by_api:
        shown["approverUserIds"] = list(dict.fromkeys(u for step in approval.steps for u in step))
    if approval.cc:
        shown["ccUserIds"] = list(approval.cc)
    if approval.main is not None:
        shown["mainProcessInstanceId"] = approval.main
    if approval.finished_ms is not None:
        shown["finishTime"] = stamp(approval.finished_ms, true_z)
    return shown


def _record(approval: Approval, record: Record, true_z: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "date": stamp(record.at_ms, true_z),
        "images": [],
        "result": record.outcome,
        "showName": _SHOWN[record.kind],
        "type": record.kind,
        "userId": record.userid,
    }
    if record.step is not None:
        shown["activityId"] = approval.activity_id(record.step)
    if record.remark:
        shown["remark"] = record.remark
    if record.files:
        shown["attachments"] = [
            {
                "fileName": file.name,
                "fileSize": str(file.size),
                "fileId": file.file_id,
                "fileType": file.name.rpartition(".")[2],
                "spaceId": file.space_id,
            }
            for file in record.files
        ]
    return shown


def _task(approval: Approval, task: Task, true_z: bool) -> dict[str, Any]:
    where = f"procInsId={approval.instance_id}&taskId={task.number}&businessId={approval.business_id}"
    shown: dict[str, Any] = {
        "activityId": approval.activity_id(task.step),
        "createTime": stamp(task.created_ms, true_z),
        "mobileUrl": f"aflow.dingtalk.com?{where}",
        "pcUrl": f"aflow.dingtalk.com?{where}",
        "result": task.result,
        "status": task.status,
        "taskId": task.number,
        "userId": task.userid,
    }
    if task.finished_ms is not None:
        shown["finishTime"] = stamp(task.finished_ms, true_z)
    return shown
