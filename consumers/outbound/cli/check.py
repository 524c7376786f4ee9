"""The calls of the Open API that outbound makes, for the doctor and the probe to try them."""

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.doctor.checks.platform import NOBODY, Call, Known
from dingbridge.doctor.parts import Check


def _calls(client: DingTalkClient, known: Known) -> list[Call]:
    return [
        Call("v2/user/get", client.user, "userid"),
        Call("v2/department/get", client.department, "dept_id"),
        Call("v2/department/listsub", client.sub_departments, "dept_id"),
        # of nobody, so it changes nothing; the right is the same for all writes of contacts
        Call("v2/user/update", lambda _: client.update_user(NOBODY, {}), writes=True),
        Call(INSTANCES, client.approval, "processInstanceId"),
    ]


CHECK = Check(calls=_calls)
