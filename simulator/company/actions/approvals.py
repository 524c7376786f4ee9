"""What happens to approvals, and its events."""

from typing import Final

from dingbridge.simulator.company.actions.base import Actions
from dingbridge.simulator.company.documents import Approval, Attachment, BizAction, Record, Task
from dingbridge.simulator.company.events import PlatformEvent

_REMARKS: Final = ("", "同意", "好的", "请注意交接")
_COMMENTS: Final = ("请补充发票", "已电话确认", "什么时候需要？", "收到 👍")


class ApprovalActions(Actions):
    """Each method is one action; it returns its events in the order in which they are pushed."""

    def start_approval(
        self, process_code: str | None = None, userid: str | None = None
    ) -> list[PlatformEvent]:
        originator = self._company.pick_user() if userid is None else self._company.user(userid)
        at_ms = self._now()
        return self._started(
            self._approvals.start(at_ms, process_code=process_code, originator=originator), at_ms
        )

    def _started(self, approval: Approval, at_ms: int) -> list[PlatformEvent]:
        started = [self._shape.task(approval, task, "start", at_ms) for task in approval.open_tasks()]
        return [self._shape.instance(approval, "start", at_ms), *started]

    def approve(
        self,
        process_instance_id: str | None = None,
        remark: str | None = None,
        one_step: bool = False,
        instance_first: bool | None = None,
    ) -> list[PlatformEvent]:
        approval = self._approvals.pick(process_instance_id)
        events = self._decide(approval, True, remark, instance_first)
        while approval.status == "RUNNING" and not one_step:
            events += self._decide(approval, True, remark, instance_first)
        return events

    def refuse(
        self,
        process_instance_id: str | None = None,
        remark: str | None = None,
        instance_first: bool | None = None,
    ) -> list[PlatformEvent]:
        return self._decide(self._approvals.pick(process_instance_id), False, remark, instance_first)

    def _decide(
        self,
        approval: Approval,
        agree: bool,
        remark: str | None,
        instance_first: bool | None,
        task: Task | None = None,
    ) -> list[PlatformEvent]:
        if remark is None:
            remark = self._rng.choice(_REMARKS) if agree else "不同意，请补充材料"
        if instance_first is None:
            instance_first = self._rng.random() < 0.8
        at_ms = self._now()
        task, cancelled, opened = self._approvals.decide(approval, at_ms, agree, remark, task)
        # captured: the next task begins, and mostly the instance ends, before the end of the task that did it
        events = [self._shape.task(approval, new, "start", at_ms) for new in opened]
        events.append(self._shape.task(approval, task, "finish", at_ms, remark))
        events += [self._shape.task(approval, other, "cancel", at_ms) for other in cancelled]
        if approval.status != "RUNNING":
            end = self._shape.instance(approval, "finish", at_ms)
            events.insert(0 if instance_first else len(events), end)
        return events

    def redirect(
        self, process_instance_id: str | None = None, userid: str | None = None
    ) -> list[PlatformEvent]:
        """An approver gives his task to a colleague."""
        approval = self._approvals.pick(process_instance_id)
        if userid is not None:
            userid = self._company.user(userid).userid
        at_ms = self._now()
        old, new = self._approvals.redirect(approval, at_ms, userid)
        return [
            self._shape.task(approval, old, "finish", at_ms),
            self._shape.task(approval, new, "start", at_ms),
        ]

    def modify_approved(self, process_instance_id: str | None = None) -> list[PlatformEvent]:
        """The originator changes what was approved: by another approval, whose form is another."""
        return self._upon(process_instance_id, "MODIFY")

    def revoke_approved(self, process_instance_id: str | None = None) -> list[PlatformEvent]:
        """The originator takes back what was approved: by another approval, of the same form."""
        return self._upon(process_instance_id, "REVOKE")

    def _upon(self, process_instance_id: str | None, biz_action: BizAction) -> list[PlatformEvent]:
        main = self._approvals.pick_agreed(process_instance_id)
        at_ms = self._now()
        approval = self._approvals.start(
            at_ms,
            originator=self._company.user(main.originator),
            process_code=main.process_code,
            form=main.form if biz_action == "REVOKE" else None,
            biz_action=biz_action,
            main=main,
        )
        return self._started(approval, at_ms)

    def comment(
        self,
        process_instance_id: str | None = None,
        userid: str | None = None,
        text: str | None = None,
        file_name: str | None = None,
        file_size: int = 12_345,
    ) -> list[PlatformEvent]:
        """``file_name``: of a file that hangs on the comment, of ``file_size`` bytes."""
        approval = self._approvals.pick(process_instance_id)
        author = self._company.pick_user() if userid is None else self._company.user(userid)
        text = self._rng.choice(_COMMENTS) if text is None else text
        at_ms = self._now()
        files = []
        if file_name is not None:
            file_id = str(self._rng.randrange(10**10, 10**11))
            files.append(Attachment("115000001", file_id, file_name, file_size))
        approval.records.append(Record(author.userid, at_ms, "ADD_REMARK", remark=text, files=files))
        return [self._shape.comment(approval, author.userid, text, at_ms)]

    def delete_approval(self, process_instance_id: str | None = None) -> list[PlatformEvent]:
        """An administrator deletes it, running or not: the API knows nothing of it any more."""
        approval = self._approvals.delete(process_instance_id)
        return [self._shape.instance(approval, "delete", self._now())]

    def revoke(self, process_instance_id: str | None = None) -> list[PlatformEvent]:
        return self._revoke(self._approvals.pick(process_instance_id))

    def _revoke(self, approval: Approval, remark: str = "") -> list[PlatformEvent]:
        at_ms = self._now()
        cancelled = self._approvals.revoke(approval, at_ms, remark)
        events = [self._shape.task(approval, task, "cancel", at_ms) for task in cancelled]
        return [*events, self._shape.instance(approval, "terminate", at_ms)]
