"""Which permission a call needs: what an operator ticks on the app's permission page."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

PERMISSIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("v2/user/get", "user/count", "user/listadmin"), "qyapi_get_member"),
    **dict.fromkeys(("v2/department/get", "v2/department/listsub", "role/list"), "qyapi_get_department_list"),
    "v2/user/getbymobile": "qyapi_get_member_by_mobile",
    **dict.fromkeys(("v2/user/list", "role/simplelist"), "qyapi_get_department_member"),
    **dict.fromkeys(
        (f"v2/{what}/{done}" for what in ("user", "department") for done in ("create", "update", "delete")),
        "qyapi_manage_addresslist",
    ),
    "v1.0/workflow/processInstances": "Workflow.Instance.Read",
    "v1.0/workflow/processes/instanceIds/query": "Workflow.Instance.Read",
    "v1.0/workflow/processes/userVisibilities/templates": "Workflow.Form.Read",
    "v1.0/workflow/forms/schemas/processCodes": "Workflow.Form.Read",
    "v1.0/workflow/processInstances/spaces/files/urls/download": "Workflow.Instance.Write",
    "v1.0/workflow/processInstances/terminate": "Workflow.Instance.Write",
    "v1.0/workflow/processInstances/execute": "Workflow.Instance.Write",
    **dict.fromkeys(("v1.0/todo/tasks", "v1.0/todo/tasks/update"), "Todo.Todo.Write"),
    "v1.0/todo/tasks/query": "Todo.Todo.Read",
}
"""The permission that a call needs (the pages of the calls), for a refusal whose own text names none.
Starting an approval bears the name of reading one; DingTalk's text says Workflow.Instance.Write then."""

_NAMED_RE: Final = re.compile(r"\[((?:qyapi_\w+|[A-Z]\w*(?:\.\w+)+)(?:[\s,，、]+[\w.]+)*)\]")


def to_tick(permission: str | None) -> str:
    """What to do about a right that is missing, if ``permission`` is known, with its name."""
    page = "the app's permission page (权限管理) on open-dev.dingtalk.com"
    return f"Tick {permission} on {page}" if permission else f"Tick what DingTalk's text names on {page}"


def permission_of(api: str, errmsg: str, named: Sequence[str] = ()) -> str | None:
    """What is missing: ``named`` if the reply has any, else what stands in brackets in its text
    (``应用尚未开通所需的权限：[qyapi_get_member]``), else what the call ``api`` is known to need."""
    if named:
        return ", ".join(named)
    found = _NAMED_RE.search(errmsg)
    return found[1] if found else PERMISSIONS.get(api)
