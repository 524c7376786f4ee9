"""People and departments as the app wants them: created, changed, removed.

``fields`` have DingTalk's own names and plain values: lists of ids are lists, ``extension`` is a mapping,
``hired_date`` epoch ms. The form in which DingTalk wants them, and each field's limit, are ``fields``'s.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from dingbridge.dingtalk.api.calls import Calls, an_object, no_sense
from dingbridge.dingtalk.api.fields import DEPARTMENT, USER, checked, encoded
from dingbridge.dingtalk.errors import InvalidField, NotFound, OutcomeUnknown
from dingbridge.dingtalk.replies import integer

APPEND: Final = 1
"""``ext_attrs_update_mode``: leave the custom fields alone that are not named. The default clears them."""


class NewUser(NamedTuple):
    """Who was created: the page's ``userid`` and ``unionId``; None where the reply has none."""

    userid: str
    unionid: str | None


class ContactWrites(Calls):
    """Writes of contacts. DingTalk's monthly quota does not count them.

    Each is sent once: after ``OutcomeUnknown`` it may have been carried out. ``InvalidField``: nothing was
    sent. After any other error DingTalk has not done it.
    """

    async def create_user(self, fields: Mapping[str, Any]) -> NewUser:
        """Create a person (user-information-creation).

        ``name``, ``mobile`` and ``dept_id_list`` are mandatory; ``userid`` is chosen by DingTalk if it is
        not given. Raises ``AlreadyExists``, ``ReferenceMissing``, and ``AcceptancePending`` when the person
        was invited instead.
        """
        api = "v2/user/create"
        _need(api, fields, "name", "mobile", "dept_id_list")
        given = {name: value for name, value in fields.items() if value is not None}
        result = an_object(api, await self._write(api, encoded(api, USER, given)))
        userid = result.get("userid") or fields.get("userid")
        if not isinstance(userid, str) or not userid:
            raise no_sense(api, "succeeds without a userid", OutcomeUnknown)
        return NewUser(userid, str(result.get("unionId") or "") or None)

    async def update_user(self, userid: str, fields: Mapping[str, Any]) -> None:
        """Change these fields of a person, and no other (user-information-update).

        ``None`` empties ``manager_userid``, and a text inside ``extension``; no page says how to empty any
        other field, so that is an ``InvalidField``. Names that ``extension`` does not have stay. ``mobile``
        and ``userid`` cannot be changed (address-book-employee-operations). Raises ``NotFound``,
        ``AlreadyExists``, ``ReferenceMissing``.
        """
        api = "v2/user/update"
        if "mobile" in fields or "userid" in fields:
            raise InvalidField(api, "mobile" if "mobile" in fields else "userid", "is set at creation only")
        clear = "manager_userid" in fields and not fields["manager_userid"]
        given = {name: value for name, value in fields.items() if not (clear and name == "manager_userid")}
        body = encoded(api, USER, {"userid": userid, **given})
        if clear:
            body["force_update_fields"] = "manager_userid"
        if "extension" in body:
            body["ext_attrs_update_mode"] = APPEND
        await self._write(api, body)

    async def delete_user(self, userid: str) -> None:
        """Remove a person from the company (delete-a-user). Raises ``NotFound``."""
        api = "v2/user/delete"
        await self._write(api, encoded(api, USER, {"userid": userid}))

    async def userid_by_mobile(self, mobile: str) -> str | None:
        """Whose mobile number this is, ``None`` if nobody's in the company
        (retrieve-userid-from-mobile-phone-number)."""
        api = "v2/user/getbymobile"
        body = {"mobile": checked(api, "mobile", USER["mobile"], mobile)}
        try:
            result = an_object(api, await self._result(api, body, counts=False))
        except NotFound:
            return None
        userid = result.get("userid")
        return userid if isinstance(userid, str) and userid else None

    async def create_department(self, fields: Mapping[str, Any]) -> int:
        """Create a department; returns the id that DingTalk gave it
        (address-book-creation-department-established-department).

        ``name`` and ``parent_id`` (the company: 1) are mandatory; ``source_identifier`` is the app's own id.
        Raises ``AlreadyExists``, ``ReferenceMissing``.
        """
        api = "v2/department/create"
        _need(api, fields, "name", "parent_id")
        if "dept_manager_userid_list" in fields:
            raise InvalidField(api, "dept_manager_userid_list", "is set by an update, once they are members")
        given = {name: value for name, value in fields.items() if value is not None}
        result = an_object(api, await self._write(api, encoded(api, DEPARTMENT, given)))
        dept_id = integer(result.get("dept_id"))
        if dept_id is None:
            raise no_sense(api, "succeeds without a dept_id", OutcomeUnknown)
        return dept_id

    async def update_department(self, dept_id: int, fields: Mapping[str, Any]) -> None:
        """Change these fields of a department, and no other (address-book-update-department).

        An empty ``dept_manager_userid_list`` clears it; who is in it must be a member of the department.
        Raises ``NotFound``, ``AlreadyExists``, ``ReferenceMissing``.
        """
        api = "v2/department/update"
        body = encoded(api, DEPARTMENT, {"dept_id": dept_id, **fields})
        if body.get("dept_manager_userid_list") == "":
            del body["dept_manager_userid_list"]
            body["force_update_fields"] = "dept_manager_userid_list"
        await self._write(api, body)

    async def delete_department(self, dept_id: int) -> None:
        """Remove a department that has neither members nor departments (address-book-deletion-department).
        Raises ``NotFound``, ``DepartmentNotEmpty``."""
        api = "v2/department/delete"
        await self._write(api, encoded(api, DEPARTMENT, {"dept_id": dept_id}))

    async def _write(self, api: str, body: Mapping[str, Any]) -> Any:
        reply = await self._call(api, "POST", f"/topapi/{api}", body, once=True, counts=False)
        return reply.get("result")


def _need(api: str, fields: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if fields.get(name) is None:
            raise InvalidField(api, name, "is missing, and DingTalk creates nothing without it")
