"""The calls of the Open API that address-sync makes, for the doctor to try whether they are allowed."""

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.doctor.checks.platform import NOBODY, Call
from dingbridge.doctor.parts import Check


def _calls(client: DingTalkClient) -> list[Call]:
    found_user = NOBODY

    async def members() -> None:
        nonlocal found_user
        async for user in client.department_users(1):
            found_user = str(user.get("userid") or NOBODY)
            return

    async def role_members() -> None:
        async for _ in client.role_users(1):
            return

    return [
        Call("auth/scopes", client.visible_scope),
        Call("v2/department/get", lambda: client.department(1)),
        Call("v2/department/listsub", lambda: client.sub_departments(1)),
        Call("v2/user/list", members),
        Call("v2/user/get", lambda: client.user(found_user)),
        Call("user/count", lambda: client.user_count(only_active=False)),
        Call("role/list", client.role_groups),
        Call("role/simplelist", role_members),
    ]


CHECK = Check(calls=_calls)
