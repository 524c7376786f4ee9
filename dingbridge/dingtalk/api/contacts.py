"""People, departments, roles and administrators, and how much of the company the app may see."""

from collections.abc import AsyncIterator
from typing import Final, cast

from dingbridge.dingtalk.api.calls import Calls, a_list, an_object, no_sense, objects
from dingbridge.dingtalk.api.objects import (
    Admin,
    Department,
    ListedDepartment,
    ListedUser,
    RoleGroup,
    RoleMember,
    User,
    VisibleScope,
)
from dingbridge.dingtalk.api.shapes import (
    DEPARTMENT,
    LISTED_DEPARTMENT,
    LISTED_USER,
    ROLE_GROUP,
    USER,
    typed,
)
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.replies import integer

PAGE_SIZE: Final = 100
ROLE_GROUPS_PAGE: Final = 200


class ContactCalls(Calls):
    """Contacts, read only. DingTalk's monthly quota does not count these calls, but for ``visible_scope``
    (basic-interfaces-such-as-log-off-and-address-book)."""

    async def user(self, userid: str) -> User:
        """A user's details (query-user-details). Raises ``NotFound``, and ``Unavailable`` for an answer that
        is about another person, or lacks what identifies one."""
        api = "v2/user/get"
        result = await self._result(api, {"userid": userid, "language": "zh_CN"}, counts=False)
        user = an_object(api, typed(result, USER))
        # Invariant 9: written as it is, such an answer would empty the person's row and take all roles
        if not all(isinstance(user.get(name), str) and user[name] for name in ("userid", "unionid", "name")):
            raise no_sense(api, "succeeds without the person's userid, unionid or name")
        if user["userid"] != userid:
            raise no_sense(api, "answers about another person than it was asked for")
        return cast(User, user)

    async def department(self, dept_id: int) -> Department:
        """A department's details; the root's id is 1 (query-department-details0-v2). Raises ``NotFound``, and
        ``Unavailable`` for an answer that is about another department."""
        api = "v2/department/get"
        result = await self._result(api, {"dept_id": dept_id, "language": "zh_CN"}, counts=False)
        department = an_object(api, typed(result, DEPARTMENT))
        if department.get("dept_id") != dept_id:
            raise no_sense(api, "answers about another department than it was asked for")
        return cast(Department, department)

    async def sub_departments(self, dept_id: int) -> list[ListedDepartment] | None:
        """The departments one level below (user-management-acquires-the-list-departments); None for an answer
        without a list, which may mean that there are none."""
        api = "v2/department/listsub"
        result = await self._result(api, {"dept_id": dept_id, "language": "zh_CN"}, counts=False)
        if result is None:
            return None
        return cast(list[ListedDepartment], objects(api, result, LISTED_DEPARTMENT))

    async def department_users(self, dept_id: int) -> AsyncIterator[ListedUser]:
        """Every direct member, page by page (queries-the-complete-information-of-a-department-user).

        The listing is of moments, not of one moment: who joins or leaves the department meanwhile may shift
        others past a page's edge.
        """
        api = "v2/user/list"
        async for page in self._pages(
            api, {"dept_id": dept_id}, size=PAGE_SIZE, start="cursor", counts=False
        ):
            for user in objects(api, page.get("list"), LISTED_USER):
                yield cast(ListedUser, user)

    async def user_count(self, only_active: bool) -> int:
        """How many employees there are, or only those who have activated DingTalk
        (obtain-the-number-of-employees-v2)."""
        api = "user/count"
        count = integer(
            an_object(api, await self._result(api, {"only_active": only_active}, counts=False)).get("count")
        )
        if count is None:
            raise no_sense(api, "succeeds without the number it should hold")
        return count

    async def role_groups(self) -> list[RoleGroup]:
        """All groups of roles, each with its ``groupId``, ``name`` and ``roles`` (``id``, ``name``)
        (obtains-a-list-of-enterprise-roles)."""
        api = "role/list"
        groups = []
        async for page in self._pages(api, {}, size=ROLE_GROUPS_PAGE, start="offset", counts=False):
            groups += objects(api, page.get("list"), ROLE_GROUP)
        return cast(list[RoleGroup], groups)

    async def role_users(self, role_id: int) -> AsyncIterator[RoleMember]:
        """Everybody who has the role, as ``userid`` and ``name`` (obtain-the-list-of-employees-of-a-role)."""
        api = "role/simplelist"
        async for page in self._pages(
            api, {"role_id": role_id}, size=PAGE_SIZE, start="offset", counts=False
        ):
            for user in objects(api, page.get("list")):
                yield cast(RoleMember, user)

    async def admins(self) -> list[Admin]:
        """The administrators: ``userid`` and ``sys_level``, 1 the main one, 2 others
        (query-the-administrator-list)."""
        result = await self._result("user/listadmin", {}, counts=False)
        return cast(list[Admin], objects("user/listadmin", result))

    async def visible_scope(self) -> VisibleScope:
        """What the app may see of the company: ``authed_dept`` (department ids, whole subtrees; 1 is the
        company) and ``authed_user`` (userids), both lists (GET /auth/scopes). Not on the list of exempt
        calls, so it counts."""
        api = "auth/scopes"
        reply = await self.at(Priority.ALWAYS)._call(api, "GET", "/auth/scopes")
        scopes = an_object(api, reply.get("auth_org_scopes"))
        departments = a_list(api, scopes.get("authed_dept"))
        users = a_list(api, scopes.get("authed_user"))
        numbers = [item if (number := integer(item)) is None else number for item in departments]
        return {"authed_dept": numbers, "authed_user": [str(item) for item in users]}
