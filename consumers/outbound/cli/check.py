"""The calls of the Open API that outbound makes, for the doctor to try whether they are allowed."""

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.doctor.checks.platform import NOBODY, Call
from dingbridge.doctor.parts import Check


def _calls(client: DingTalkClient) -> list[Call]:
    return [
        Call("v2/user/get", lambda: client.user(NOBODY)),
        Call("v2/department/get", lambda: client.department(1)),
        Call("v2/department/listsub", lambda: client.sub_departments(1)),
        # of nobody, so it changes nothing; the right is the same for all writes of contacts
        Call("v2/user/update", lambda: client.update_user(NOBODY, {})),
        Call(INSTANCES, lambda: client.approval(NOBODY)),
    ]


CHECK = Check(calls=_calls)
