"""What successful replies of the Open API hold: the one table of fields, types and pages for our reads.

The objects in replies are the types of ``objects``. The client takes types from the table (``typed``), and
``dingbridge probe`` compares a real tenant's replies with it. A declaration is an object of ``name: type``. A
``?`` after the name: replies come without it, too (DingTalk leaves out what is empty, and what the app may
not see). ``a|b``: either spelling. Types are JSON's: ``str``, ``int``, ``bool``, ``any``, ``list[str]``; an
object of declarations; a list that holds the declaration of its entries. ``str A|B`` lists the values that a
page names; others come, and stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from dingbridge.dingtalk.api import objects
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


def fields_of(kind: type) -> Fields:
    """The declaration of a ``TypedDict``. The text in ``Annotated[str, "A|B"]`` lists values."""
    hints = get_type_hints(kind, include_extras=True)
    absent = kind.__optional_keys__  # type: ignore[attr-defined]
    return {f"{name}?" if name in absent else name: _kind(hint) for name, hint in hints.items()}


def _kind(hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return _kind(arguments[0])
    if origin is Annotated:
        return f"str {arguments[1]}"
    if origin is list:
        entry = _kind(arguments[0])
        return f"list[{entry}]" if isinstance(entry, str) else [entry]
    if is_typeddict(hint):
        return fields_of(hint)
    return "any" if hint is Any else hint.__name__


USER: Final = fields_of(objects.User)
LISTED_USER: Final = fields_of(objects.ListedUser)
DEPARTMENT: Final = fields_of(objects.Department)
LISTED_DEPARTMENT: Final = fields_of(objects.ListedDepartment)
ROLE_GROUP: Final = fields_of(objects.RoleGroup)
PAGE: Final[Fields] = {"has_more|hasMore": "bool", "next_cursor|nextCursor?": "int"}

_WORKFLOW: Final = "v1.0/workflow/"
SHAPES: Final[Mapping[str, Shape]] = {
    "gettoken": Shape("obtain-orgapp-token", {"access_token": "str", "expires_in?": "int"}),
    "auth/scopes": Shape(
        "obtain-corpsecret-authorization-scope",
        {
            "auth_org_scopes": fields_of(objects.VisibleScope),
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
    "user/listadmin": Shape("query-the-administrator-list", {"result": [fields_of(objects.Admin)]}),
    "v2/user/getbymobile": Shape("retrieve-userid-from-mobile-phone-number", {"result": {"userid": "str"}}),
    "role/list": Shape("obtains-a-list-of-enterprise-roles", {"result": {**PAGE, "list": [ROLE_GROUP]}}),
    "role/simplelist": Shape(
        "obtain-the-list-of-employees-of-a-role",
        {"result": {**PAGE, "list": [fields_of(objects.RoleMember)]}},
    ),
    "get_call_back": Shape(
        "query-subscribed-events",
        {"call_back_tag": "list[str]", "token": "str", "aes_key": "str", "url": "str"},
        counts=True,
    ),
    f"{_WORKFLOW}processInstances": Shape(
        "obtains-the-details-of-a-single-approval-instance-pop",
        {"result": fields_of(objects.Approval), "success?": "bool"},
        counts=True,
    ),
    f"{_WORKFLOW}processes/instanceIds/query": Shape(
        "obtain-an-approval-list-of-instance-ids",
        {"result": {"list": "list[str]", "nextToken?": "str"}, "success?": "bool"},
        counts=True,
    ),
    f"{_WORKFLOW}processes/userVisibilities/templates": Shape(
        "obtains-a-list-of-approval-forms-visible-to-the-specified",
        {"result": {"processList": [fields_of(objects.Template)], "nextToken?": "int"}, "success?": "bool"},
        counts=True,
    ),
    f"{_WORKFLOW}forms/schemas/processCodes": Shape(
        "obtain-the-form-schema", {"result": fields_of(objects.FormSchema), "success?": "bool"}, counts=True
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
