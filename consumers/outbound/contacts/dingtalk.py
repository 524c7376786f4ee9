"""One person or department in DingTalk: found, read, written, and what an error says of a write."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from consumers.outbound import fields
from consumers.outbound.contacts.references import MISSING
from consumers.outbound.contacts.rows import Entity, userid_of
from consumers.outbound.ledger import (
    Action,
    Create,
    Delete,
    Fields,
    Kind,
    Ledger,
    Observed,
    Outcome,
    Update,
)
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import (
    AcceptancePending,
    ApiError,
    DepartmentNotEmpty,
    NotFound,
    OutcomeUnknown,
    ReferenceMissing,
)
from dingbridge.throttle import Throttle

T = TypeVar("T")

NO_MEMBER = ("60067", "60068")
"""A department's manager is no member of it yet (server-api-error-codes-1)."""


class Contacts:
    """What the agent asks of one company's contacts, and does to them, at a pace. ``own_ids`` remembers each
    department's ``source_identifier``, by dept_id."""

    def __init__(self, client: DingTalkClient, pace: Throttle, own_ids: dict[str, str]) -> None:
        self._client, self._pace, self._own_ids = client, pace, own_ids

    async def find(self, entity: Entity, ledger: Ledger) -> Observed | None:
        """The entity as DingTalk has it now: by the id that is known, else by those that it may have. Raises
        ``ApiError``, ``NotFound`` excepted."""
        kind, wished = entity.kind, ledger.wish.fields if ledger.wish else {}
        tried = ledger.ding_id
        if tried is not None and (found := await self._read(kind, tried)) is not None:
            return found
        if kind == "department":
            begun = ledger.intention
            aimed = begun.target if begun is not None and begun.op == "create" else None
            for place in (wished, aimed or {}):  # the wish may have changed since the creation began
                if (found := await self._find_department(entity.own_id, place)) is not None:
                    return found
            return None
        userid = userid_of(entity)
        if userid != tried and (found := await self._read(kind, userid)) is not None:
            return found
        if "mobile" not in wished or "userid" in entity.wish:
            return None
        by_mobile = await self._turn(self._client.userid_by_mobile, wished["mobile"])
        return None if by_mobile in (None, tried, userid) else await self._read(kind, by_mobile)

    async def _find_department(self, own_id: str, wished: Fields) -> Observed | None:
        parent = wished.get("parent")
        if not isinstance(parent, int):
            return None
        try:
            children = await self._turn(self._client.sub_departments, parent)
        except NotFound:
            return None
        # what the listing shows of them varies, so each is read, once in this process
        for child in children:
            dept_id = str(child["dept_id"])
            if dept_id not in self._own_ids:
                await self._read("department", dept_id)
            if self._own_ids.get(dept_id) == own_id:
                return await self._read("department", dept_id)
        for child in children:
            dept_id = str(child["dept_id"])
            if child.get("name") == wished.get("name") and not self._own_ids.get(dept_id):
                return await self._read("department", dept_id)
        return None

    async def _read(self, kind: Kind, ding_id: str) -> Observed | None:
        try:
            reply = (
                await self._turn(self._client.user, ding_id)
                if kind == "user"
                else await self._turn(self._client.department, int(ding_id))
            )
        except NotFound:
            return None
        if kind == "department":
            self._own_ids[ding_id] = str(reply.get("source_identifier") or "")
        return Observed(ding_id, fields.observed(kind, reply))

    async def write(self, entity: Entity, action: Action) -> str | None:
        """Do it; the id of what was created. Raises ``ApiError``."""
        client, kind = self._client, entity.kind
        match action:
            case Create():
                wanted = fields.arguments(kind, action.fields)
                if kind == "user":
                    return await self._turn(client.create_user, {**wanted, "userid": userid_of(entity)})
                wanted["source_identifier"] = entity.own_id
                return str(await self._turn(client.create_department, wanted))
            case Update():
                wanted = fields.arguments(kind, action.fields, action.before)
                if kind == "user":
                    await self._turn(client.update_user, action.ding_id, wanted)
                else:
                    await self._turn(client.update_department, int(action.ding_id), wanted)
            case Delete():
                if kind == "user":
                    await self._turn(client.delete_user, action.ding_id)
                else:
                    await self._turn(client.delete_department, int(action.ding_id))
        return None

    async def _turn(self, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        await self._pace.turn()
        return await call(*arguments)


def outcome_of(action: Action, error: ApiError) -> Outcome:
    """What ``error`` says of whether ``action`` was carried out."""
    if isinstance(error, OutcomeUnknown):
        return Outcome("unknown")
    if isinstance(error, AcceptancePending):
        return Outcome("pending", reason="acceptance")
    if isinstance(error, DepartmentNotEmpty):
        return Outcome("pending", reason="not-empty")
    if isinstance(error, NotFound) and isinstance(action, Delete):
        return Outcome("done")
    if error.unavailable or (isinstance(error, NotFound) and isinstance(action, Update)):
        return Outcome("unsent", retry_after_ms=round((error.retry_after_s or 0) * 1000))
    if error.code in NO_MEMBER:
        return Outcome("pending", reason="manager-missing")
    if isinstance(error, ReferenceMissing | NotFound):
        known = () if isinstance(action, Delete) else action.fields
        reason = next((MISSING[name] for name in MISSING if name in known), None)
        if reason is not None:
            return Outcome("pending", reason=reason)
    return Outcome("refused", code=error.code, words=str(error))
