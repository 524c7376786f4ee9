"""Permissions of the app: which it lacks, and from when on a token sees one that was granted meanwhile.

Which call needs which is on DingTalk's pages of the calls, as of 2026-08. Calls that are not named here
(tokens, registration, the older approval calls) need none here. A new grant may be seen by new tokens only
(cryozerolabs/n8n-nodes-dingtalk v0.3.4).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from dingbridge.simulator.errors import ActionError, denied
from dingbridge.simulator.profile import Profile
from dingbridge.simulator.tokens import AccessTokens

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "qyapi_base": ("auth/scopes", "get_call_back_failed_result"),
    "qyapi_get_member": ("v2/user/get", "user/count", "user/listadmin"),
    "qyapi_get_member_by_mobile": ("v2/user/getbymobile",),
    "qyapi_get_department_list": (
        "v2/department/get",
        "v2/department/listsub",
        "v2/department/listsubid",
        "role/list",
    ),
    "qyapi_get_department_member": ("v2/user/list", "role/simplelist"),
    "qyapi_manage_addresslist": (
        "v2/user/create",
        "v2/user/update",
        "v2/user/delete",
        "v2/department/create",
        "v2/department/update",
        "v2/department/delete",
    ),
    "Workflow.Instance.Read": (
        "GET /v1.0/workflow/processInstances",
        "POST /v1.0/workflow/processes/instanceIds/query",
    ),
    "Workflow.Instance.Write": (
        "POST /v1.0/workflow/processInstances",
        "POST /v1.0/workflow/processInstances/terminate",
        "POST /v1.0/workflow/processInstances/execute",
        "POST /v1.0/workflow/processInstances/spaces/files/urls/download",
    ),
    "Workflow.Form.Read": (
        "GET /v1.0/workflow/processes/userVisibilities/templates",
        "GET /v1.0/workflow/processes/managements/templates",
        "GET /v1.0/workflow/processCentres/schemaNames/processCodes",
        "GET /v1.0/workflow/forms/schemas/processCodes",
    ),
    "Contact.User.Read": ("GET /v1.0/contact/users/me",),
    "Todo.Todo.Read": ("POST /v1.0/todo/users/{unionId}/org/tasks/query",),
    "Todo.Todo.Write": (
        "POST /v1.0/todo/users/{unionId}/tasks",
        "PUT /v1.0/todo/users/{unionId}/tasks/{taskId}",
    ),
}
_OF: Final = {api: permission for permission, apis in _NEEDED.items() for api in apis}


def permission_of(api: str) -> str:
    """What a call needs, by its name; its name where that is not known."""
    return _OF.get(api, api)


class Rights:
    """``lacking``: the permissions that the app has not."""

    def __init__(self, tokens: AccessTokens, profile: Profile, app_key: str) -> None:
        self._tokens, self._profile, self.app_key = tokens, profile, app_key
        self.lacking: set[str] = set()
        self._granted: dict[str, int] = {}
        """Permissions that the app was given, with how many tokens had been issued by then."""

    def set(self, lacking: Iterable[Any]) -> None:
        """The app lacks these and no other; one that it lacked and lacks no longer is granted now. Raises
        ``ActionError`` for one that there is not."""
        wanted = {str(permission) for permission in lacking}
        if unknown := sorted(wanted - _NEEDED.keys()):
            raise ActionError(f"no call needs {unknown[0]}; there are {', '.join(_NEEDED)}")
        self._granted |= dict.fromkeys(self.lacking - wanted, self._tokens.issued)
        self.lacking = wanted

    def check(self, api: str, token: str | None) -> None:
        """Raises ``PlatformError`` for a call whose permission the app lacks, or this token does not see."""
        permission = permission_of(api)
        unseen = self._profile.new_token and self._tokens.number(token) <= self._granted.get(permission, 0)
        if permission in self.lacking or unseen:
            raise denied(60011, permission, self.app_key)

    def as_json(self) -> dict[str, Any]:
        return {
            "lacking": sorted(self.lacking),
            "needed": {name: list(apis) for name, apis in _NEEDED.items()},
        }
