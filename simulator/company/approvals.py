"""Approvals of the invented company: their states, tasks and records.

Responsible for how one approval goes on from its start to its end. Who asks for it to go on, and which
events that yields, is ``platform``'s business; how the API shows it, ``documents``'s. Times are epoch ms.
"""

import base64
import zlib
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice
from random import Random
from typing import Any, Final, Literal

from dingbridge.simulator.company.company import Company
from dingbridge.simulator.company.documents import SHANGHAI, Approval, BizAction, Record, Task, document
from dingbridge.simulator.company.people import User
from dingbridge.simulator.company.templates import TEMPLATES, FormValue
from dingbridge.simulator.errors import ActionError

FINISHED_KEPT: Final = 20_000
"""Approvals that are over are forgotten beyond this many, the oldest first, so that a simulator can run for
weeks. The API then answers as for one that never was."""

_LAST: Final = 50
"""Approvals that are over of which one is changed or taken back by itself."""


def instance_id(key: bytes, corp_id: str, at_ms: int) -> str:
    """An id as DingTalk has them since about 2022 (captured): 22 characters, here those of 16 bytes, four
    digits that are the company's, and the start in epoch seconds."""
    text = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
    return f"{text}{zlib.crc32(corp_id.encode()) % 10_000:04d}{at_ms // 1000:010d}"


class Approvals:
    """All approvals, the running ones and the last that are over. ``rng`` is the company's unless given;
    ``started`` and ``last_task`` are where its numbers begin.

    ``true_z``: the times that the API shows are UTC, as their ``Z`` says, and not China's.
    """

    def __init__(
        self,
        company: Company,
        corp_id: str,
        *,
        rng: Random | None = None,
        started: int = 0,
        last_task: int = 61_000_000_000,  # above 2^31, as real ones are
    ) -> None:
        self._company, self._corp_id = company, corp_id
        self.true_z = False
        self._rng = rng or company.rng
        self._all: dict[str, Approval] = {}
        self.running: dict[str, Approval] = {}
        self._finished: dict[str, None] = {}
        self._last_task, self._started = last_task, started
        self._agreed: dict[str, Approval] = {}  # the last of each template

    def __iter__(self) -> Iterator[Approval]:
        return iter(self._all.values())

    def get(self, instance_id: str) -> Approval | None:
        return self._all.get(instance_id)

    def pick(self, instance_id: str | None = None) -> Approval:
        """The running approval of this id, or any. Raises ``ActionError`` when there is none."""
        if instance_id is not None:
            if instance_id not in self.running:
                raise ActionError(f"approval {instance_id} is not running; GET /_sim/state lists all")
            return self.running[instance_id]
        if not self.running:
            raise ActionError("no approval is running; start one first (action start_approval)")
        return self._rng.choice(list(self.running.values()))

    def pick_agreed(self, instance_id: str | None = None) -> Approval:
        """The approved approval of this id, or any of ``in_force``. Raises ``ActionError`` when there is
        none."""
        if instance_id is None:
            agreed = self.in_force()
        else:
            agreed = [a for a in [self._all.get(instance_id)] if a is not None and self._is_agreed(a)]
        if not agreed:
            raise ActionError("there is no such approval that was approved; action approve approves one")
        return self._rng.choice(agreed)

    def in_force(self) -> list[Approval]:
        """Those of the last that are over which were approved, and which no other one changes or takes back
        or is about to."""
        last = (self._all[id_] for id_ in islice(reversed(self._finished), _LAST))
        return [a for a in last if self._is_agreed(a) and a.biz_action != "REVOKE" and not self._upon(a)]

    def _is_agreed(self, approval: Approval) -> bool:
        """Whether it was approved, and whoever may change it is here."""
        return approval.result == "agree" and approval.originator in self._company.users

    def _upon(self, approval: Approval) -> bool:
        """Whether another one has changed it or taken it back, or is about to."""
        others = map(self._all.get, approval.attached)
        return any(o is None or o.status == "RUNNING" or o.result == "agree" for o in others)

    def start(
        self,
        at_ms: int,
        *,
        originator: User,
        process_code: str | None = None,
        dept_id: int | None = None,
        form: list[FormValue] | None = None,
        steps: list[list[str]] | None = None,
        of_all: Collection[int] = (),
        by_api: bool = False,
        cc: Sequence[str] = (),
        biz_action: BizAction = "NONE",
        main: Approval | None = None,
    ) -> Approval:
        """Begin an approval; its first step's tasks are open afterwards. Form and approvers are made up
        unless they are given."""
        rng, company = self._rng, self._company
        if process_code is None:
            process_code = rng.choice(("PROC-LEAVE", *TEMPLATES))  # leaves are the most frequent
        template = TEMPLATES.get(process_code)
        if template is None:
            raise ActionError(f"there is no template {process_code}; there are {', '.join(TEMPLATES)}")
        self._started += 1
        local = datetime.fromtimestamp(at_ms / 1000, SHANGHAI)
        dept = company.departments[originator.dept_ids[0] if dept_id is None else dept_id]
        related = [(a.title, a.business_id, a.instance_id) for a in self._agreed.values()]
        approval = Approval(
            instance_id=instance_id(rng.getrandbits(128).to_bytes(16, "big"), self._corp_id, at_ms),
            process_code=process_code,
            business_id=local.strftime("%Y%m%d%H%M") + f"{self._started:09d}",
            title=f"{originator.name}提交的{template.title}",
            originator=originator.userid,
            dept_id=dept.dept_id,
            dept_name=dept.name,
            form=template.fill(rng, local.date(), (originator.userid, originator.name), related)
            if form is None
            else form,
            steps=self._approvers(originator, template.steps, template.either) if steps is None else steps,
            created_ms=at_ms,
            of_all=set(of_all),
            by_api=by_api,
            cc=cc,
            biz_action=biz_action,
            main=None if main is None else main.instance_id,
        )
        if main is not None:
            main.attached.append(approval.instance_id)
        approval.records.append(Record(originator.userid, at_ms, "START_PROCESS_INSTANCE"))
        self._open_step(approval, 0, at_ms)
        self._all[approval.instance_id] = self.running[approval.instance_id] = approval
        return approval

    def _approvers(self, originator: User, steps: int, either: bool) -> list[list[str]]:
        chain: list[list[str]] = []
        user = originator
        while len(chain) < steps:
            manager = user.manager or self._rng.choice(self._company.users.ids)
            chain.append([manager])
            user = self._company.users.peek(manager) or user
        if either:
            others = self._company.users.others({chain[0][0], originator.userid})
            if others:
                chain[0].append(self._rng.choice(others))
        return chain

    def _open_step(self, approval: Approval, step: int, at_ms: int) -> list[Task]:
        opened = []
        users = self._company.users
        # an approver who has left is replaced now, when an event reports it, and not silently before
        approval.steps[step] = [
            u if u in users or not users else self._rng.choice(users.ids) for u in approval.steps[step]
        ]
        for userid in approval.steps[step]:
            self._last_task += self._rng.randrange(1, 1_000)
            opened.append(Task(self._last_task, userid, step, at_ms))
        approval.tasks += opened
        return opened

    def decide(
        self, approval: Approval, at_ms: int, agree: bool, remark: str, task: Task | None = None
    ) -> tuple[Task, list[Task], list[Task]]:
        """One open task is decided, the first unless one is named. Returns it, the tasks cancelled by it, and
        those newly opened.

        The approval is over when it was refused, or when no step follows.
        """
        task = task or approval.open_tasks()[0]
        others = [other for other in approval.open_tasks() if other is not task]
        task.status, task.result, task.finished_ms = "COMPLETED", "AGREE" if agree else "REFUSE", at_ms
        approval.records.append(
            Record(task.userid, at_ms, "EXECUTE_TASK_NORMAL", task.result, remark, task.step)
        )
        if agree and others and task.step in approval.of_all:
            return task, [], []
        self._cancel(others, at_ms)
        if agree and task.step + 1 < len(approval.steps):
            return task, others, self._open_step(approval, task.step + 1, at_ms)
        self._end(approval, at_ms, "COMPLETED", "agree" if agree else "refuse")
        return task, others, []

    def revoke(self, approval: Approval, at_ms: int, remark: str = "") -> list[Task]:
        """The originator takes it back. Returns the tasks cancelled by it."""
        cancelled = approval.open_tasks()
        self._cancel(cancelled, at_ms)
        approval.records.append(
            Record(approval.originator, at_ms, "TERMINATE_PROCESS_INSTANCE", remark=remark)
        )
        self._end(approval, at_ms, "TERMINATED", "")
        return cancelled

    def hand_over(self, userid: str, at_ms: int) -> list[tuple[Approval, Task, Task]]:
        """Somebody left: each open task of his goes to a colleague. Returns approval, old and new task."""
        colleagues = self._company.users.ids
        moved: list[tuple[Approval, Task, Task]] = []
        for approval in self.running.values() if colleagues else ():
            for task in [t for t in approval.open_tasks() if t.userid == userid]:
                moved.append(
                    (approval, task, self._hand(approval, task, self._rng.choice(colleagues), at_ms))
                )
        return moved

    def redirect(self, approval: Approval, at_ms: int, heir: str | None) -> tuple[Task, Task]:
        """An open task goes to ``heir``, or to anybody else. Returns the old and the new task."""
        busy = {task.userid for task in approval.open_tasks()}
        others = self._company.users.others(busy)
        if heir in busy:
            raise ActionError(f"{heir} has a task of this approval already; name another userid")
        if heir is None and not others:
            raise ActionError("there is nobody else to give it to; hire somebody first")
        task = approval.open_tasks()[0]
        return task, self._hand(approval, task, heir or self._rng.choice(others), at_ms)

    def _hand(self, approval: Approval, task: Task, heir: str, at_ms: int) -> Task:
        approval.steps[task.step] = [heir if u == task.userid else u for u in approval.steps[task.step]]
        task.status, task.result, task.finished_ms = "COMPLETED", "REDIRECTED", at_ms
        approval.records.append(Record(task.userid, at_ms, "REDIRECT_TASK", step=task.step))
        self._last_task += 1
        new = Task(self._last_task, heir, task.step, at_ms)
        approval.tasks.append(new)
        return new

    def delete(self, instance_id: str | None) -> Approval:
        """Forget an approval, running or not; any unless one is named."""
        if instance_id is None:
            if not self._all:
                raise ActionError("there is no approval; start one first (action start_approval)")
            instance_id = self._rng.choice(list(self._all))
        if instance_id not in self._all:
            raise ActionError(f"there is no approval {instance_id}; GET /_sim/state lists all")
        self.running.pop(instance_id, None)
        self._finished.pop(instance_id, None)
        return self._all.pop(instance_id)

    def _cancel(self, tasks: list[Task], at_ms: int) -> None:
        for task in tasks:
            task.status, task.finished_ms = "CANCELED", at_ms

    def _end(
        self,
        approval: Approval,
        at_ms: int,
        status: Literal["COMPLETED", "TERMINATED"],
        result: Literal["", "agree", "refuse"],
    ) -> None:
        approval.status, approval.result, approval.finished_ms = status, result, at_ms
        if result == "agree":
            self._agreed[approval.process_code] = approval
        del self.running[approval.instance_id]
        self._finished[approval.instance_id] = None
        while len(self._finished) > FINISHED_KEPT:
            oldest = next(iter(self._finished))
            del self._finished[oldest], self._all[oldest]

    def result(self, approval: Approval) -> dict[str, Any]:
        """``result`` of obtains-the-details-of-a-single-approval-instance-pop."""
        return document(approval, true_z=self.true_z)
