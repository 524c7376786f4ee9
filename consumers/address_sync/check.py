"""The calls of the Open API that address-sync makes, for the doctor and the probe to try them."""

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.doctor.checks.platform import Call, Known
from dingbridge.doctor.parts import Check


def _calls(client: DingTalkClient, known: Known) -> list[Call]:
    async def scope(_: object) -> None:
        seen = await client.visible_scope()
        known.sees(seen["authed_dept"], seen["authed_user"])

    async def children(dept_id: int) -> None:
        ids = [child.get("dept_id") for child in await client.sub_departments(dept_id) or ()]
        known.add("dept_id", *sorted(ids, key=lambda one: isinstance(one, int) and one < 1))

    async def members(dept_id: int) -> None:
        async for user in client.department_users(dept_id):
            known.add("userid", user.get("userid"))
            if len(known.ids("userid")) >= 2:
                return

    async def roles(_: object) -> None:
        for group in await client.role_groups():
            known.add("role_id", *(role.get("id") for role in group.get("roles") or ()))

    return [
        Call("auth/scopes", scope),
        Call("v2/department/get", client.department, "dept_id"),
        Call("v2/department/listsub", children, "dept_id"),
        Call("v2/user/list", members, "dept_id"),
        Call("v2/user/get", client.user, "userid"),
        Call("role/list", roles),
    ]


CHECK = Check(calls=_calls)
