"""People, departments, roles, administrators, and what the app may see of them.

A page of a listing is cut from the company as it is at that moment: who joins or leaves between two pages
shifts the others, as at DingTalk.
"""

from typing import Any, Final

from dingbridge.simulator.api.calls import Routes
from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.company.company import ROOT, Company
from dingbridge.simulator.company.people import listed_result
from dingbridge.simulator.company.scope import VisibleScope
from dingbridge.simulator.company.sight import Sight, listed_in
from dingbridge.simulator.errors import ActionError, PlatformError

_PAGE_MOST: Final = 100
_ROLES_MOST: Final = 200
_USER_FIELDS: Final = ("name", "email", "mobile", "userid", "unionid", "avatar", "title", "jobnumber")


class ContactCalls:
    """The calls, by the documents' names: query-user-details, queries-the-complete-information-of-a-
    department-user, obtain-the-number-of-employees-v2, query-department-details0-v2, user-management-
    acquires-the-list-departments, obtain-the-list-of-sub-department-ids, obtains-a-list-of-enterprise-roles,
    obtain-the-list-of-employees-of-a-role, query-the-administrator-list, retrieve-userid-from-mobile-phone-
    number."""

    def __init__(self, company: Company, scope: VisibleScope, sight: Sight) -> None:
        self._company = company
        self._scope = scope
        self._sight = sight

    def routes(self) -> Routes:
        return [
            ("POST", "/topapi/v2/user/get", self._user_get),
            ("POST", "/topapi/v2/user/getbymobile", self._user_getbymobile),
            ("POST", "/topapi/v2/user/list", self._user_list),
            ("POST", "/topapi/user/count", self._user_count),
            ("POST", "/topapi/user/listadmin", self._admins),
            ("POST", "/topapi/v2/department/get", self._department_get),
            ("POST", "/topapi/v2/department/listsub", self._department_listsub),
            ("POST", "/topapi/v2/department/listsubid", self._department_listsubid),
            ("POST", "/topapi/role/list", self._role_list),
            ("POST", "/topapi/role/simplelist", self._role_users),
            ("GET", "/auth/scopes", self._scopes),
        ]

    async def _user_get(self, call: Call) -> Answer:
        userid = call.text("userid")
        shown = self._sight.user(userid)
        if shown is None:
            raise PlatformError(60121)
        self._scope.check_user(userid)
        return {"result": shown}

    async def _user_getbymobile(self, call: Call) -> Answer:
        mobile = call.text("mobile").removeprefix("+86-")
        userid = self._sight.holding(mobile)
        if userid is None:
            raise PlatformError(60121)
        self._scope.check_user(userid)
        return {"result": {"userid": userid}}

    async def _user_list(self, call: Call) -> Answer:
        dept_id = self._department(call)["dept_id"]
        cursor, size = call.page("cursor", _PAGE_MOST)
        members = self._sight.members(dept_id)
        users = filter(
            None, (self._sight.user(u, listed_in(dept_id)) for u in members[cursor : cursor + size])
        )
        more = cursor + size < len(members)
        result: dict[str, Any] = {
            "has_more": more,
            "list": [listed_result(user, dept_id) for user in users],
        }
        return {"result": result | ({"next_cursor": cursor + size} if more else {})}

    async def _user_count(self, call: Call) -> Answer:
        # everybody of this company has activated DingTalk; the count is the company's, whatever is visible
        if "only_active" not in call.body:
            raise PlatformError(400002, "无效的参数: 缺少only_active")
        return {"result": {"count": len(self._company.users)}}

    async def _admins(self, call: Call) -> Answer:
        admins = self._company.roles.admins
        return {"result": [{"userid": userid, "sys_level": level} for userid, level in admins.items()]}

    async def _department_get(self, call: Call) -> Answer:
        return {"result": self._department(call)}

    async def _department_listsub(self, call: Call) -> Answer:
        children = self._children(call, default=ROOT)
        shown = ("dept_id", "name", "parent_id", "create_dept_group", "auto_add_user")
        return {"result": [{key: child[key] for key in shown} for child in children]}

    async def _department_listsubid(self, call: Call) -> Answer:
        children = self._children(call)
        return {"result": {"dept_id_list": [child["dept_id"] for child in children]}}

    async def _role_list(self, call: Call) -> Answer:
        offset, size = call.page("offset", _ROLES_MOST, first=0, size=20)
        groups = self._company.roles.groups_result()
        more = offset + size < len(groups)
        return {"result": {"hasMore": more, "list": groups[offset : offset + size]}}

    async def _role_users(self, call: Call) -> Answer:
        role_id = call.number("role_id")
        offset, size = call.page("offset", _PAGE_MOST, first=0, size=20)
        try:
            role = self._company.roles.role(role_id)
        except ActionError:
            raise PlatformError(400002, "无效的参数: role_id对应的角色不存在") from None
        visible = [userid for userid in role.userids if self._scope.sees_user(userid)]
        people = filter(None, map(self._company.users.peek, visible[offset : offset + size]))
        more = offset + size < len(visible)
        result: dict[str, Any] = {
            "hasMore": more,
            "list": [{"userid": user.userid, "name": user.name} for user in people],
        }
        return {"result": result | ({"nextCursor": offset + size} if more else {})}

    async def _scopes(self, call: Call) -> Answer:
        return {
            "auth_user_field": list(_USER_FIELDS),
            "condition_field": [],
            "auth_org_scopes": self._scope.result(),
        }

    def _children(self, call: Call, default: int | None = None) -> list[dict[str, Any]]:
        dept_id = self._department(call, default)["dept_id"]
        return [*self._scope.listed_below(dept_id), *self._sight.children(dept_id)]

    def _department(self, call: Call, default: int | None = None) -> dict[str, Any]:
        dept_id = call.number("dept_id", default)
        dept = self._sight.department(dept_id)
        if dept is None:
            raise PlatformError(60003)
        if dept_id in self._company.departments:
            self._scope.check_department(dept_id)
        return dept
