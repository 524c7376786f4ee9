"""What DingTalk's replies hold, as types: ``user["nmae"]`` is an error of the type checker.

These are the names and types of DingTalk's pages (``shapes`` names the page of each call) and of captured
replies. A field that is ``NotRequired`` is absent from some replies: DingTalk leaves out what is empty, and
what the app may not see, so absent is not empty. A field that a page does not name may come all the same.
"""

from typing import Annotated, Any, NotRequired, TypedDict


class DepartmentOrder(TypedDict):
    """Where a person stands in the list of one department."""

    dept_id: int
    order: int


class Leadership(TypedDict):
    """Whether a person leads one department."""

    dept_id: int
    leader: bool


class UserRole(TypedDict):
    """A role that a person has; ``group_name`` is that of its group."""

    id: int
    name: str
    group_name: NotRequired[str]


class User(TypedDict):
    """A person of the company (query-user-details)."""

    userid: str
    unionid: str
    name: str
    avatar: NotRequired[str]
    state_code: NotRequired[str]
    mobile: NotRequired[str]
    telephone: NotRequired[str]
    job_number: NotRequired[str]
    title: NotRequired[str]
    email: NotRequired[str]
    org_email: NotRequired[str]
    work_place: NotRequired[str]
    remark: NotRequired[str]
    manager_userid: NotRequired[str]
    extension: NotRequired[str]
    nickname: NotRequired[str]
    login_id: NotRequired[str]
    active: NotRequired[bool]
    admin: NotRequired[bool]
    boss: NotRequired[bool]
    senior: NotRequired[bool]
    real_authed: NotRequired[bool]
    exclusive_account: NotRequired[bool]
    hide_mobile: NotRequired[bool]
    hired_date: NotRequired[int]
    dept_id_list: NotRequired[list[int]]
    dept_order_list: NotRequired[list[DepartmentOrder]]
    leader_in_dept: NotRequired[list[Leadership]]
    role_list: NotRequired[list[UserRole]]


class ListedUser(User):
    """A person in the listing of one department."""

    dept_order: NotRequired[int]
    leader: NotRequired[bool]


class _Department(TypedDict):
    dept_id: int
    name: str
    order: NotRequired[int]
    org_dept_owner: NotRequired[str]
    dept_group_chat_id: NotRequired[str]
    source_identifier: NotRequired[str]
    code: NotRequired[str]
    brief: NotRequired[str]
    telephone: NotRequired[str]
    create_dept_group: NotRequired[bool]
    auto_add_user: NotRequired[bool]
    hide_dept: NotRequired[bool]
    outer_dept: NotRequired[bool]
    group_contain_sub_dept: NotRequired[bool]
    outer_dept_only_self: NotRequired[bool]
    auto_approve_apply: NotRequired[bool]
    dept_manager_userid_list: NotRequired[list[str]]
    user_permits: NotRequired[list[str]]
    outer_permit_users: NotRequired[list[str]]
    dept_permits: NotRequired[list[int]]
    outer_permit_depts: NotRequired[list[int]]
    union_dept_ext: NotRequired[Any]


class Department(_Department):
    """A department; the root, whose ``dept_id`` is 1, has no ``parent_id`` (query-department-details0-v2)."""

    parent_id: NotRequired[int]


class ListedDepartment(_Department):
    """A department among those below another."""

    parent_id: int


class Role(TypedDict):
    id: int
    name: str


class RoleGroup(TypedDict):
    """A group of roles (obtains-a-list-of-enterprise-roles)."""

    groupId: int
    name: str
    roles: NotRequired[list[Role]]


class RoleMember(TypedDict):
    """Who has a role."""

    userid: str
    name: NotRequired[str]


class Admin(TypedDict):
    """An administrator; ``sys_level`` is 1 for the main one, 2 for others."""

    userid: str
    sys_level: int


class VisibleScope(TypedDict):
    """What the app may see: whole subtrees of departments, and single people."""

    authed_dept: list[int]
    authed_user: list[str]


class Attachment(TypedDict):
    """A file of a comment; one of the form stands as JSON in its field's value."""

    fileName: str
    fileSize: str
    fileId: str
    fileType: str
    spaceId: NotRequired[str]


class OperationRecord(TypedDict):
    """What somebody did with an approval. ``date`` has minutes only (see ``Approval``)."""

    userId: str
    date: str
    remark: NotRequired[str]
    activityId: NotRequired[str]
    showName: NotRequired[str]
    ccUserIds: NotRequired[list[str]]
    images: NotRequired[list[str]]
    type: Annotated[
        str,
        "EXECUTE_TASK_NORMAL|EXECUTE_TASK_AGENT|APPEND_TASK_BEFORE|APPEND_TASK_AFTER|REDIRECT_TASK"
        "|START_PROCESS_INSTANCE|TERMINATE_PROCESS_INSTANCE|FINISH_PROCESS_INSTANCE|ADD_REMARK"
        "|REDIRECT_PROCESS|PROCESS_CC|EXECUTE_TASK_AUTO|EXECUTE_TASK_TRANSFER",
    ]
    result: Annotated[str, "AGREE|REFUSE|NONE|BACK"]
    attachments: NotRequired[list[Attachment]]


class ApprovalTask(TypedDict):
    """One person's task in an approval."""

    taskId: int
    userId: str
    createTime: NotRequired[str]
    finishTime: NotRequired[str]
    mobileUrl: NotRequired[str]
    pcUrl: NotRequired[str]
    processInstanceId: NotRequired[str]
    activityId: NotRequired[str]
    taskGroupName: NotRequired[str]
    status: Annotated[str, "NEW|RUNNING|PAUSED|CANCELED|COMPLETED|TERMINATED"]
    result: Annotated[str, "AGREE|REFUSE|REDIRECTED|NONE"]


class FormValue(TypedDict):
    """A field of an approval's form. ``value`` is a text, of tables and ranges their JSON."""

    id: NotRequired[str]
    name: str
    value: str
    extValue: NotRequired[str]
    componentType: NotRequired[str]
    bizAlias: NotRequired[str]


class Approval(TypedDict):
    """An approval instance (obtains-the-details-of-a-single-approval-instance-pop). Times, as
    ``2026-04-16T15:34Z``, have minutes only and are China's whatever the ``Z`` says (captured)."""

    title: str
    businessId: str
    originatorUserId: str
    originatorDeptId: str
    originatorDeptName: NotRequired[str]
    createTime: str
    finishTime: NotRequired[str]
    bizData: NotRequired[str]
    mainProcessInstanceId: NotRequired[str]
    approverUserIds: NotRequired[list[str]]
    ccUserIds: NotRequired[list[str]]
    attachedProcessInstanceIds: NotRequired[list[str]]
    status: Annotated[str, "RUNNING|TERMINATED|COMPLETED"]
    result: Annotated[str, "agree|refuse"]
    bizAction: NotRequired[Annotated[str, "MODIFY|REVOKE|NONE"]]
    operationRecords: NotRequired[list[OperationRecord]]
    tasks: NotRequired[list[ApprovalTask]]
    formComponentValues: NotRequired[list[FormValue]]


class Template(TypedDict):
    """An approval template (obtains-a-list-of-approval-forms-visible-to-the-specified)."""

    name: str
    processCode: str
    url: NotRequired[str]
    iconUrl: NotRequired[str]
    dirId: NotRequired[str]
    dirName: NotRequired[str]


class ChildComponent(TypedDict):
    """A field inside a table of a form."""

    componentName: str
    componentType: NotRequired[str]
    props: Any


class Component(TypedDict):
    """A field of a form; of a table ``children`` are its columns."""

    componentName: str
    props: Any
    children: NotRequired[list[ChildComponent]]


class SchemaContent(TypedDict):
    title: NotRequired[str]
    icon: NotRequired[str]
    items: list[Component]


class FormSchema(TypedDict):
    """A template's form (obtain-the-form-schema)."""

    name: str
    creatorUserId: NotRequired[str]
    appUuid: NotRequired[str]
    formCode: NotRequired[str]
    formUuid: NotRequired[str]
    memo: NotRequired[str]
    ownerIdType: NotRequired[str]
    icon: NotRequired[str]
    bizType: NotRequired[str]
    procType: NotRequired[str]
    visibleRange: NotRequired[str]
    gmtCreate: NotRequired[str]
    gmtModified: NotRequired[str]
    appType: NotRequired[int]
    engineType: NotRequired[int]
    listOrder: NotRequired[int]
    status: NotRequired[Annotated[str, "PUBLISHED|INVALID|SAVED"]]
    customSetting: NotRequired[Any]
    schemaContent: SchemaContent


class Todo(TypedDict):
    """A to-do as its listing has it (query-the-to-do-list-of-enterprise-users)."""

    taskId: str
    sourceId: NotRequired[str]
    subject: NotRequired[str]
    isDone: NotRequired[bool]
    dueTime: NotRequired[int]
    createdTime: NotRequired[int]
    modifiedTime: NotRequired[int]
    creatorId: NotRequired[str]
    priority: NotRequired[int]
    detailUrl: NotRequired[Any]
