"""What successful replies of the Open API hold: the one table of fields, types and pages for our reads.

The client takes types from it (``typed``), and ``dingbridge probe`` compares a real tenant's replies with it.
A declaration is an object of ``name: type``. A ``?`` after the name: replies come without it, too (DingTalk
leaves out what is empty, and what the app may not see). ``a|b``: either spelling. Types are JSON's: ``str``,
``int``, ``bool``, ``any``, ``list[str]``; an object of declarations; a list that holds the declaration of its
entries. ``str A|B`` lists the values that a page names; others come, and stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dingbridge.dingtalk.replies import boolean, integer

Fields = Mapping[str, Any]
"""A declaration, as the module has it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The reply of one API. ``page`` is its slug at open.dingtalk.com; ``counts``: the month's quota counts
    the call, as it does all that is not on the list of basic-interfaces-such-as-log-off-and-address-book."""

    page: str
    fields: Fields
    counts: bool = False


def declared(name: str) -> tuple[tuple[str, ...], bool]:
    """The spellings of a declared name, and whether replies come without it."""
    return tuple(name.removesuffix("?").split("|")), name.endswith("?")


def _of(kind: str, names: str) -> Fields:
    """Fields of one type, their names in one text."""
    return dict.fromkeys(names.split(), kind)


USER: Final[Fields] = {
    **_of("str", "userid unionid name avatar? state_code? mobile? telephone? job_number? title? email?"),
    **_of("str", "org_email? work_place? remark? manager_userid? extension? nickname? login_id?"),
    **_of("bool", "active? admin? boss? senior? real_authed? exclusive_account? hide_mobile?"),
    "hired_date?": "int",
    "dept_id_list?": "list[int]",
    "dept_order_list?": [_of("int", "dept_id order")],
    "leader_in_dept?": [{"dept_id": "int", "leader": "bool"}],
    "role_list?": [{"id": "int", "name": "str", "group_name?": "str"}],
}
LISTED_USER: Final[Fields] = {**USER, "dept_order?": "int", "leader?": "bool"}
DEPARTMENT: Final[Fields] = {
    **_of("int", "dept_id parent_id? order?"),
    **_of("str", "name org_dept_owner? dept_group_chat_id? source_identifier? code? brief? telephone?"),
    **_of("bool", "create_dept_group? auto_add_user? hide_dept? outer_dept? group_contain_sub_dept?"),
    **_of("bool", "outer_dept_only_self? auto_approve_apply?"),
    **_of("list[str]", "dept_manager_userid_list? user_permits? outer_permit_users?"),
    **_of("list[int]", "dept_permits? outer_permit_depts?"),
    "union_dept_ext?": "any",
}
LISTED_DEPARTMENT: Final[Fields] = {
    **{name: kind for name, kind in DEPARTMENT.items() if name != "parent_id?"},
    "parent_id": "int",
}
ROLE_GROUP: Final[Fields] = {"groupId": "int", "name": "str", "roles?": [{"id": "int", "name": "str"}]}
PAGE: Final[Fields] = {"has_more|hasMore": "bool", "next_cursor|nextCursor?": "int"}

APPROVAL: Final[Fields] = {
    **_of("str", "title businessId originatorUserId originatorDeptId originatorDeptName? createTime"),
    **_of("str", "finishTime? bizData? mainProcessInstanceId?"),
    **_of("list[str]", "approverUserIds? ccUserIds? attachedProcessInstanceIds?"),
    "status": "str RUNNING|TERMINATED|COMPLETED",
    "result": "str agree|refuse",
    "bizAction?": "str MODIFY|REVOKE|NONE",
    "operationRecords?": [
        {
            **_of("str", "userId date remark? activityId? showName?"),
            **_of("list[str]", "ccUserIds? images?"),
            "type": "str EXECUTE_TASK_NORMAL|EXECUTE_TASK_AGENT|APPEND_TASK_BEFORE|APPEND_TASK_AFTER"
            "|REDIRECT_TASK|START_PROCESS_INSTANCE|TERMINATE_PROCESS_INSTANCE|FINISH_PROCESS_INSTANCE"
            "|ADD_REMARK|REDIRECT_PROCESS|PROCESS_CC|EXECUTE_TASK_AUTO|EXECUTE_TASK_TRANSFER",
            "result": "str AGREE|REFUSE|NONE|BACK",
            "attachments?": [_of("str", "fileName fileSize fileId fileType spaceId?")],
        }
    ],
    "tasks?": [
        {
            **_of("str", "userId createTime? finishTime? mobileUrl? pcUrl?"),
            **_of("str", "processInstanceId? activityId? taskGroupName?"),
            "taskId": "int",
            "status": "str NEW|RUNNING|PAUSED|CANCELED|COMPLETED|TERMINATED",
            "result": "str AGREE|REFUSE|REDIRECTED|NONE",
        }
    ],
    "formComponentValues?": [_of("str", "id? name value extValue? componentType? bizAlias?")],
}
SCHEMA: Final[Fields] = {
    **_of("str", "name creatorUserId? appUuid? formCode? formUuid? memo? ownerIdType? icon? bizType?"),
    **_of("str", "procType? visibleRange? gmtCreate? gmtModified?"),
    **_of("int", "appType? engineType? listOrder?"),
    "status?": "str PUBLISHED|INVALID|SAVED",
    "customSetting?": "any",
    "schemaContent": {
        **_of("str", "title? icon?"),
        "items": [
            {
                "componentName": "str",
                "props": "any",
                "children?": [{"componentName": "str", "componentType?": "str", "props": "any"}],
            }
        ],
    },
}
TEMPLATE: Final[Fields] = _of("str", "name processCode url? iconUrl? dirId? dirName?")

_WORKFLOW: Final = "v1.0/workflow/"
SHAPES: Final[Mapping[str, Shape]] = {
    "gettoken": Shape("obtain-orgapp-token", {"access_token": "str", "expires_in?": "int"}),
    "auth/scopes": Shape(
        "obtain-corpsecret-authorization-scope",
        {
            "auth_org_scopes": {"authed_dept": "list[int]", "authed_user": "list[str]"},
            "auth_user_field?": "list[str]",
            "condition_field?": "list[str]",
        },
        counts=True,
    ),
    "v2/user/get": Shape("query-user-details", {"result": USER}),
    "v2/user/list": Shape(
        "queries-the-complete-information-of-a-department-user", {"result": {**PAGE, "list": [LISTED_USER]}}
    ),
    "v2/department/get": Shape("query-department-details0-v2", {"result": DEPARTMENT}),
    "v2/department/listsub": Shape(
        "user-management-acquires-the-list-departments", {"result": [LISTED_DEPARTMENT]}
    ),
    "user/count": Shape("obtain-the-number-of-employees-v2", {"result": {"count": "int"}}),
    "user/listadmin": Shape(
        "query-the-administrator-list", {"result": [{"userid": "str", "sys_level": "int"}]}
    ),
    "v2/user/getbymobile": Shape("retrieve-userid-from-mobile-phone-number", {"result": {"userid": "str"}}),
    "role/list": Shape("obtains-a-list-of-enterprise-roles", {"result": {**PAGE, "list": [ROLE_GROUP]}}),
    "role/simplelist": Shape(
        "obtain-the-list-of-employees-of-a-role",
        {"result": {**PAGE, "list": [{"userid": "str", "name?": "str"}]}},
    ),
    "get_call_back": Shape(
        "query-subscribed-events",
        {"call_back_tag": "list[str]", "token": "str", "aes_key": "str", "url": "str"},
        counts=True,
    ),
    f"{_WORKFLOW}processInstances": Shape(
        "obtains-the-details-of-a-single-approval-instance-pop",
        {"result": APPROVAL, "success?": "bool"},
        counts=True,
    ),
    f"{_WORKFLOW}processes/instanceIds/query": Shape(
        "obtain-an-approval-list-of-instance-ids",
        {"result": {"list": "list[str]", "nextToken?": "str"}, "success?": "bool"},
        counts=True,
    ),
    f"{_WORKFLOW}processes/userVisibilities/templates": Shape(
        "obtains-a-list-of-approval-forms-visible-to-the-specified",
        {"result": {"processList": [TEMPLATE], "nextToken?": "int"}, "success?": "bool"},
        counts=True,
    ),
    f"{_WORKFLOW}forms/schemas/processCodes": Shape(
        "obtain-the-form-schema", {"result": SCHEMA, "success?": "bool"}, counts=True
    ),
    f"{_WORKFLOW}processInstances/spaces/files/urls/download": Shape(
        "download-an-approval-attachment",
        {"result": {"spaceId?": "int", "fileId?": "str", "downloadUri?": "str"}, "success?": "bool"},
        counts=True,
    ),
}
"""By the call's name in metrics, faults and the budget."""


def typed(value: Any, fields: Fields) -> Any:
    """``value`` with numbers and booleans where ``fields`` declares them, at any depth: the documents print
    them as texts in places. What cannot be converted, or is not declared, stays as it is."""
    if not isinstance(value, dict):
        return value
    of = {spelled: kind for name, kind in fields.items() for spelled in declared(name)[0]}
    return {name: _typed(item, of.get(name)) for name, item in value.items()}


def _typed(value: Any, kind: Any) -> Any:
    converted: Any = None
    if kind == "int":
        converted = integer(value)
    elif kind == "bool":
        converted = boolean(value)
    elif isinstance(kind, Mapping):
        return typed(value, kind)
    elif isinstance(value, list) and (kind == "list[int]" or isinstance(kind, list)):
        entry = "int" if kind == "list[int]" else kind[0]
        return [_typed(item, entry) for item in value]
    return value if converted is None else converted
