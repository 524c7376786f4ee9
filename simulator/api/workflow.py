"""Templates of approvals, and to-dos, on the newer host.

Pages: obtains-a-list-of-approval-forms-visible-to-the-specified, get-all-manageable-forms-for-the-current-
enterprise, obtain-the-template-code, obtain-the-form-schema, query-the-to-do-list-of-enterprise-users.
"""

from typing import Any, Final

from dingbridge.simulator.api.calls import Routes
from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.company.company import Company
from dingbridge.simulator.company.documents import stamp
from dingbridge.simulator.company.templates import TEMPLATES, Template
from dingbridge.simulator.company.todos import QUERY, Todos
from dingbridge.simulator.errors import NewerError

_PAGE: Final = 100
_NAME_MOST: Final = 64
_MODIFIED_MS: Final = 1_638_326_995_000
_DIRECTORY: Final = {"dirId": "0f5f0000-0000-4000-8000-000000000001", "dirName": "人事财务"}


class WorkflowCalls:
    """The calls."""

    def __init__(self, company: Company, todos: Todos) -> None:
        self._company, self._todos = company, todos

    def routes(self) -> Routes:
        return [
            ("GET", "/v1.0/workflow/processes/userVisibilities/templates", self._visible),
            ("GET", "/v1.0/workflow/processes/managements/templates", self._managed),
            ("GET", "/v1.0/workflow/processCentres/schemaNames/processCodes", self._code),
            ("GET", "/v1.0/workflow/forms/schemas/processCodes", self._schema),
            ("POST", QUERY, self._query),
        ]

    async def _query(self, call: Call) -> Answer:
        return self._todos.query(call)

    async def _visible(self, call: Call) -> Answer:
        first = _whole(call, "nextToken", "invalidNextToken", 0, 2**63)
        size = _whole(call, "maxResults", "invalidMaxResults", 1, _PAGE)
        userid = call.body.get("userId")
        if userid is not None and userid not in self._company.users:
            raise NewerError("invalidParameter", "userId不存在")
        shown = [
            {
                "name": template.title,
                "url": f"https://aflow.dingtalk.com/?processCode={template.process_code}",
                "iconUrl": f"https://static.dingtalk.com/media/{template.process_code}.png",
                "processCode": template.process_code,
                **_DIRECTORY,
            }
            for template in TEMPLATES.values()
        ]
        more = {"nextToken": first + size} if first + size < len(shown) else {}
        return {"result": {"processList": shown[first : first + size], **more}}

    async def _managed(self, call: Call) -> Answer:
        userid = call.body.get("userId")
        if not userid:
            raise NewerError("invalidUserId", "userId不能为空")
        if userid not in self._company.users:
            raise NewerError("userNotExist", "用户不存在")
        if userid not in self._company.roles.admins:
            raise NewerError("noPermission", "没有OA审批的管理权限")
        shown = [
            {
                "iconName": "common",
                "flowTitle": template.title,
                "processCode": template.process_code,
                "newProcess": True,
                "gmtModified": stamp(_MODIFIED_MS),
                "attendanceType": 1 if template.process_code == "PROC-LEAVE" else 0,
                "iconUrl": f"https://static.dingtalk.com/media/{template.process_code}.png",
            }
            for template in TEMPLATES.values()
        ]
        return {"result": shown, "success": True}

    async def _code(self, call: Call) -> Answer:
        name = call.body.get("name")
        found = next((t for t in TEMPLATES.values() if t.title == name), None)
        if found is None or len(str(name)) > _NAME_MOST:
            raise NewerError("process.error", "审批模板不存在")
        return {"result": {"processCode": found.process_code, "gmtModified": stamp(_MODIFIED_MS)}}

    async def _schema(self, call: Call) -> Answer:
        code = call.body.get("processCode")
        if not code:
            raise NewerError("invalidParameter", "processCode is mandatory for this action")
        template = TEMPLATES.get(code)
        if template is None:
            raise NewerError("aflowProcessCodeIsError", "模板编码错误")
        return {"result": _schema_of(template, next(iter(self._company.roles.admins), "")), "success": True}


def _schema_of(template: Template, creator: str) -> dict[str, Any]:
    return {
        "creatorUserId": creator,
        "appUuid": "ding0000000000000001",
        "formCode": template.process_code,
        "formUuid": f"FORM-{template.process_code}",
        "name": template.title,
        "memo": "",
        "ownerIdType": "orgId",
        "schemaContent": {"title": template.title, "icon": "common", "items": template.items()},
        "appType": 0,
        "bizType": "",
        "engineType": 0,
        "status": "PUBLISHED",
        "listOrder": 0,
        "customSetting": "{}",
        "procType": "inner",
        "visibleRange": "ALL",
        "gmtCreate": str(_MODIFIED_MS),  # here ms, as text
        "gmtModified": str(_MODIFIED_MS),
    }


def _whole(call: Call, name: str, error: str, least: int, most: int) -> int:
    """A number of the query, which must be there. Raises ``NewerError``."""
    value = str(call.body.get(name, ""))
    if not value.isdecimal() or not least <= int(value) <= most:
        raise NewerError(error, f"{name}取值范围为{least}到{most}")
    return int(value)
