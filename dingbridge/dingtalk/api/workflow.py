"""Approvals that the app starts, by the new API. Reading them is ``approvals``'s."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dingbridge.dingtalk.api.calls import Calls, no_sense
from dingbridge.dingtalk.api.fields import checked, text
from dingbridge.dingtalk.errors import InvalidField, OutcomeUnknown

ROOT: Final = 1
ROOT_OF_APPROVALS: Final = -1
"""What the approvals call the company itself, whose id is 1 everywhere else."""
FIELDS_MOST: Final = 150
APPROVERS_MOST: Final = 20
VALUE_MOST: Final = 65_535

_INSTANCES: Final = "/v1.0/workflow/processInstances"


class WorkflowCalls(Calls):
    """Writes of approvals. The monthly quota counts them.

    Each is sent once: after ``OutcomeUnknown`` it may have been carried out. ``InvalidField``: nothing was
    sent. After any other error DingTalk has not done it.
    """

    async def start_approval(
        self,
        *,
        process_code: str,
        originator: str,
        form: Mapping[str, str],
        dept_id: int | None = None,
        approvers: Sequence[str] = (),
    ) -> str:
        """Start an approval in the name of ``originator`` (a userid); returns its processInstanceId
        (create-an-approval-instance).

        ``form`` is field name to text, for a table or a range its JSON. ``approvers`` (userids) decide one
        after another, instead of the template's own; without them DingTalk needs ``dept_id``, a department of
        the originator. DingTalk has no guard against a second one: after ``OutcomeUnknown`` look among
        ``approval_ids``.
        """
        api = "workflow/processInstances"
        _at_most(api, "formComponentValues", form, FIELDS_MOST)
        _at_most(api, "approvers", approvers, APPROVERS_MOST)
        values = [
            {
                "name": checked(api, "formComponentValues.name", text(VALUE_MOST, 1), name),
                "value": checked(api, "formComponentValues.value", text(VALUE_MOST), value),
            }
            for name, value in form.items()
        ]
        body: dict[str, Any] = {
            "processCode": process_code,
            "originatorUserId": originator,
            "formComponentValues": values,
        }
        if dept_id is not None:
            body["deptId"] = ROOT_OF_APPROVALS if dept_id == ROOT else dept_id
        if approvers:
            body["approvers"] = [{"actionType": "NONE", "userIds": [userid]} for userid in approvers]
        reply = await self._new_call(api, "POST", _INSTANCES, body, once=True)
        instance_id = reply.get("instanceId")
        if not isinstance(instance_id, str) or not instance_id:
            raise no_sense(api, "succeeds without an instanceId", OutcomeUnknown)
        return instance_id


def _at_most(api: str, field: str, items: Mapping[str, str] | Sequence[str], most: int) -> None:
    if len(items) > most:
        raise InvalidField(api, field, f"has {len(items)} entries; DingTalk takes {most} at most")
