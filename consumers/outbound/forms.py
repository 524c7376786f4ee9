"""The messages of ``<control>outbound`` and the records that answer them: what each may hold.

Lengths are DingTalk's (user-information-creation, address-book-creation-department-established-department,
create-an-approval-instance, add-dingtalk-to-do-task); where its pages disagree, the smaller. What a message
means stands elsewhere. ``schemas/outbound`` is made of these models.
"""

import re
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from dingbridge.consumers.outbound.ledger import ConflictReason, PendingReason, ResultName, Verdict
from dingbridge.events.strict_json import dumps

TYPE_PREFIX: Final = "com.dingbridge."
AnyKind = Literal["user", "department", "approval", "todo"]
MAX_INT: Final = 2**53 - 1
"""The greatest number that every reader of JSON keeps."""


def _day(value: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError("must be a date, as 2026-11-30")
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError("is no day of the calendar") from None
    return value


def _short(value: dict[str, str]) -> dict[str, str]:
    if len(dumps(value).decode()) > 2000:
        raise ValueError("must have at most 2000 characters, as JSON text")
    return value


OwnId = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f]{1,64}$")]
_Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
"""What the database keeps in a column of its own, and in an index: PostgreSQL takes no NUL there, and no long
text."""
_Told = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
_DepartmentName = Annotated[str, Field(pattern=r"^[^-,，]{1,64}$")]
_DeptId = Annotated[str, Field(pattern=r"^([2-9]|[1-9][0-9]{1,18})$")]
_Whole = Annotated[int, Field(ge=0, le=MAX_INT)]
_Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+", max_length=1024)]
_Day = Annotated[
    str, AfterValidator(_day), Field(json_schema_extra={"format": "date", "pattern": r"^\d{4}-\d\d-\d\d$"})
]


def _text(longest: int) -> Any:
    return Field(default=None, max_length=longest)


def _title(name: str, _: Any) -> str:
    return name.replace("_", " ").capitalize()


_CONFIG: Final = ConfigDict(
    alias_generator=to_camel, field_title_generator=_title, use_attribute_docstrings=True
)


class _Strict(BaseModel):
    model_config = ConfigDict(**_CONFIG, extra="forbid", strict=True)


class _Data(_Strict):
    corp_id: _Name
    """The company; the same as in the record's key."""
    app: _Name | None = None
    """The DingTalk app that makes the calls; without it the consumer's own."""


class _Versioned(_Data):
    version: _Whole
    """Rises with each word about this entity (epoch ms do); an older one than the last is superseded."""


class UserDesired(_Versioned):
    """How a user shall be. A field that is absent is not wanted either way; null clears it."""

    userid: _Name = ""
    """DingTalk's id, where it is not the own id. It can be chosen when the user is created, never changed."""
    name: str = Field(default="", min_length=1, max_length=80)
    """With ``departments`` what a person is created with; a message without one of them creates nobody."""
    mobile: str = Field(default="", pattern=r"^\+?[0-9-]{5,20}$")
    """Written when the user is created; DingTalk lets nobody change it later."""
    departments: list[OwnId] = Field(default=[], min_length=1, max_length=100)
    """Own ids of all departments that the person is in; ``root`` is the company itself."""
    title: str | None = _text(200)
    job_number: str | None = _text(50)
    email: str | None = _text(50)
    telephone: str | None = _text(50)
    work_place: str | None = _text(50)
    remark: str | None = _text(1024)
    hired_on: _Day = ""
    manager: OwnId | None = None
    """Own id of a user."""
    hide_mobile: bool = False
    extension: Annotated[dict[str, str], AfterValidator(_short)] = {}
    """Fields of the company's own, by the names that the administration console gives them."""


class DepartmentDesired(_Versioned):
    """How a department shall be. A field that is absent is not wanted either way."""

    dept_id: _DeptId = ""
    """DingTalk's id, as contact events have it, of a department that outbound did not create."""
    name: _DepartmentName = ""
    """With ``parent`` what a department is created with; a message without one of them creates none."""
    parent: OwnId = ""
    """Own id of a department; ``root`` is the company itself. Without it the department stays where it is."""
    order: _Whole = 0
    """Its place among its siblings; the smaller, the nearer the top."""
    managers: list[OwnId] = Field(default=[], max_length=100)
    """Own ids of users, who must be members of it."""


class Absent(_Versioned):
    """It shall not be there any more."""


class UserAbsent(Absent):
    """The person shall not be there any more."""

    immediate: bool = False
    """Without the days of OUTBOUND_GRACE_DAYS, for somebody who is dismissed; the daily limit holds."""


class ApprovalStart(_Data):
    """An approval to be started."""

    process_code: str = Field(min_length=1, max_length=128)
    originator: OwnId
    """Own id of a user."""
    department: OwnId | None = None
    """Own id of one of the originator's departments."""
    form: dict[str, Annotated[str, Field(max_length=65535)]] = Field(min_length=1, max_length=150)
    """Texts by the names of the template's fields."""
    approvers: list[OwnId] = Field(default=[], min_length=1, max_length=20)
    """Own ids of users; without them the template's own flow decides."""


class TodoDesired(_Data):
    """A to-do that people shall see."""

    subject: str = Field(min_length=1, max_length=1024)
    creator: OwnId
    executors: list[OwnId] = Field(min_length=1, max_length=100)
    description: str | None = _text(4096)
    due_time: _Whole | None = None
    """Epoch ms."""
    url: _Url


class TodoDone(_Data):
    """A to-do of this sender's is done."""

    request: OwnId
    """The id of its todo.desired."""


class _Envelope(BaseModel):
    """CloudEvents 1.0, structured; further attributes are let through."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    specversion: Literal["1.0"]
    id: _Told
    """With ``source`` it names this message; the same again is dropped."""
    source: _Told
    """The sender, as a URI reference of its own choice."""
    subject: OwnId
    """The own id of what the message is about; of a request the request's id."""


class _Described(_Envelope):
    """The same for models that have no source: pydantic would look for it for a second, in each process."""

    model_config = ConfigDict(use_attribute_docstrings=False)


def _message(name: str, data: type[_Data]) -> type[_Envelope]:
    """The model of the message ``name`` (its type without the prefix)."""
    title = name.replace(".", " ").title().replace(" ", "")
    type_: Any = Literal[TYPE_PREFIX + name]
    return create_model(f"{title}Event", __base__=_Described, type=(type_, ...), data=(data, ...))


_MESSAGES: Final[dict[str, type[_Data]]] = {
    "user.desired": UserDesired,
    "user.absent": UserAbsent,
    "department.desired": DepartmentDesired,
    "department.absent": Absent,
    "approval.start": ApprovalStart,
    "todo.desired": TodoDesired,
    "todo.done": TodoDone,
}
MODELS: Final = {name: _message(name, data) for name, data in _MESSAGES.items()}
"""By the message's type without its prefix."""


class _Ours(BaseModel):
    model_config = ConfigDict(**_CONFIG, validate_by_name=True)


class Answers(_Ours):
    """Which message is answered."""

    source: str
    id: str


class ResultData(_Ours):
    corp_id: str
    kind: AnyKind
    id: str
    """The own id."""
    request: str
    """The message's type, without its prefix."""
    result: ResultName
    answers: Answers
    version: _Whole | None = None
    reason: PendingReason | ConflictReason | None = None
    code: str | None = None
    """DingTalk's."""
    words: str | None = None
    """What to do about it."""
    dingtalk_id: str | None = None
    """userid, dept_id, processInstanceId or task id."""
    fields: list[str] | None = None
    """Names of what was written, or would be once it is released; of somebody else what differs."""


class OldNew(_Ours):
    old: Any = None
    new: Any = None


class ChangeData(_Ours):
    corp_id: str
    kind: AnyKind
    id: str | None
    """The own id; null of a person or department whom the OA never named. Such a change has only the
    ``dingtalkId``. Its ``fields`` hold ``exists``; they are absent where something else has changed."""
    verdict: Verdict
    dingtalk_id: str | None = None
    fields: dict[str, OldNew] | None = None
    by: str | None = None
    """The userid of the person who acted, where DingTalk names one."""
    request: str | None = None
    """Of an approval: the id of its approval.start."""
    outcome: str | None = None
    """Of an approval: agree, refuse or terminated."""
    form: dict[str, Any] | None = None
    withheld: list[str] | None = None
    """In a request of forward: names of fields, also of the form, whose values the system does not get."""


class ResultEvent(_Envelope):
    """The answer to a message."""

    type: Literal["com.dingbridge.outbound.result"]
    data: ResultData


class ChangeEvent(_Envelope):
    """What a person changed in DingTalk."""

    type: Literal["com.dingbridge.change"]
    subject: _Told
    """The own id; of whom the OA never named DingTalk's."""
    data: ChangeData
