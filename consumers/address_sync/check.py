"""The calls of the Open API that address-sync makes, for the doctor to try whether they are allowed."""

from consumers.address_sync.sync.safety import ROOT
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.doctor.checks.platform import NOBODY, Call
from dingbridge.doctor.parts import Check


def _calls(client: DingTalkClient) -> list[Call]:
    seen, found_user = ROOT, NOBODY

    async def scope() -> None:
        """An app that may see some departments is refused the root (50004): it is asked for one of these."""
        nonlocal seen
        departments = (await client.visible_scope())["authed_dept"]
        if departments and ROOT not in departments:
            seen = departments[0]

    async def members() -> None:
        nonlocal found_user
        async for user in client.department_users(seen):
            found_user = str(user.get("userid") or NOBODY)
            return

    async def role_members() -> None:
        async for _ in client.role_users(1):
            return

    return [
        Call("auth/scopes", scope),
        Call("v2/department/get", lambda: client.department(seen)),
        Call("v2/department/listsub", lambda: client.sub_departments(seen)),
        Call("v2/user/list", members),
        Call("v2/user/get", lambda: client.user(found_user)),
        Call("user/count", lambda: client.user_count(only_active=False)),
        Call("role/list", client.role_groups),
        Call("role/simplelist", role_members),
    ]


CHECK = Check(calls=_calls)
