"""One person or department in DingTalk: find, read, write, and interpret the error of a write.

What the row owns is read by its id alone. Only for a row that owns nothing the entity is searched by the
userid or deptId that the message gives, the mobile or the name; who is found is a candidate for a release.
"""

from dataclasses import replace

from dingbridge.consumers.outbound import fields
from dingbridge.consumers.outbound.contacts.identity import mark_in, stranger
from dingbridge.consumers.outbound.contacts.references import MISSING
from dingbridge.consumers.outbound.contacts.rows import Entity, userid_of
from dingbridge.consumers.outbound.ledger import (
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
from dingbridge.dingtalk.api.objects import ListedDepartment
from dingbridge.dingtalk.errors import (
    AcceptancePending,
    ApiError,
    DepartmentNotEmpty,
    NotFound,
    OutcomeUnknown,
    ReferenceMissing,
)

NO_MEMBER = ("60067", "60068")
"""A department's manager is no member of it yet (server-api-error-codes-1)."""


class Contacts:
    """Reads and writes one company's contacts for the agent. ``own_ids`` remembers each
    department's ``source_identifier``, by dept_id."""

    def __init__(self, client: DingTalkClient, own_ids: dict[str, str]) -> None:
        self._client, self._own_ids = client, own_ids

    async def find(self, entity: Entity, ledger: Ledger) -> Observed | None:
        """The entity in DingTalk that the row is about. Raises ``ApiError``, but not ``NotFound``."""
        kind, begun, desired = entity.kind, ledger.creation, ledger.desired
        wanted = desired.fields if desired is not None else {}
        if begun is not None:
            # a department's parent may have changed since the creation began
            for place in ((begun.target or {}), wanted) if kind == "department" else ({},):
                if (found := await self._chosen(kind, begun.chosen, place)) is not None:
                    return replace(found, by="chosen")
            if begun.outcome == "open":
                return None
        if ledger.owned_id is not None:
            found = await self.read(kind, ledger.owned_id)
            if found is not None or (desired is not None and desired.absent):
                return found
        if desired is None:
            return None
        if desired.absent and ledger.done_version == desired.version:
            return None  # carried out: a later holder of the id is not ours
        if desired.absent and ledger.candidate is not None:  # the message does not say by what to find it
            found = await self.read(kind, ledger.candidate)
        else:
            named = entity.desired.get("deptId")
            found = None if named is None else await self.read(kind, named)
            found = found or await self._chosen(kind, desired.chosen, wanted)
        if found is None and ledger.owned_id is None:
            found = await self._alike(entity, wanted)
        return None if found is None else replace(found, by="match")

    async def _chosen(self, kind: Kind, chosen: str, wanted: Fields) -> Observed | None:
        """The person with this userid; the department with this ``source_identifier`` below its parent."""
        if kind == "user":
            return await self.read(kind, chosen)
        for dept_id, _ in await self._children(wanted.get("parent")):
            if self._own_ids.get(dept_id) == chosen:
                return await self.read(kind, dept_id)
        return None

    async def _alike(self, entity: Entity, wanted: Fields) -> Observed | None:
        """The person with this mobile; the department with this name that has no ``source_identifier``."""
        if fields.DINGTALK_IDS[entity.kind] in entity.desired:
            return None
        if entity.kind == "department":
            for dept_id, child in await self._children(wanted.get("parent")):
                if child.get("name") == wanted.get("name") and not self._own_ids.get(dept_id):
                    return await self.read("department", dept_id)
            return None
        if "mobile" not in wanted:
            return None
        userid = await self._client.userid_by_mobile(wanted["mobile"])
        return None if userid is None else await self.read("user", userid)

    async def _children(self, parent: object) -> list[tuple[str, ListedDepartment]]:
        """The departments in ``parent`` that the app may read, by id. Listings vary in
        their fields, so each department is read once in this process."""
        if not isinstance(parent, int):
            return []
        try:
            listed = await self._client.sub_departments(parent)
        except NotFound:
            return []
        children = [(str(child["dept_id"]), child) for child in listed or ()]
        for dept_id, _ in children:
            if dept_id not in self._own_ids:
                try:
                    await self.read("department", dept_id)
                except ApiError as error:
                    if error.about != "entity":
                        raise
        return [child for child in children if child[0] in self._own_ids]

    async def read(self, kind: Kind, ding_id: str) -> Observed | None:
        """The entity with this id; None: DingTalk has none. Raises ``ApiError``, but not ``NotFound``."""
        try:
            reply = (
                await self._client.user(ding_id)
                if kind == "user"
                else await self._client.department(int(ding_id))
            )
        except NotFound:
            return None
        if kind == "department":
            self._own_ids[ding_id] = str(reply.get("source_identifier") or "")
        found = fields.observed(kind, reply)
        return Observed(ding_id, found, mark_in(kind, reply), lacking=fields.lacking(kind, reply))

    async def write(self, entity: Entity, action: Action, ledger: Ledger) -> Outcome:
        """Carry out ``action``. An entity is read once more before it is deleted, and kept if it differs from
        what ``ledger`` last saw. Raises ``ApiError``."""
        client, kind = self._client, entity.kind
        match action:
            case Create():
                wanted = fields.arguments(kind, action.fields)
                if kind == "user":
                    wanted["userid"] = userid_of(entity)
                    return Outcome("done", *await client.create_user(wanted))
                wanted["source_identifier"] = entity.own_id
                return Outcome("done", str(await client.create_department(wanted)), entity.own_id)
            case Update():
                wanted = fields.arguments(kind, action.fields, action.before)
                if kind == "user":
                    await client.update_user(action.ding_id, wanted)
                else:
                    await client.update_department(int(action.ding_id), wanted)
            case Delete():
                there = await self.read(kind, action.ding_id)
                if there is None:
                    return Outcome("done")
                if (why := stranger(kind, ledger, there, removing=True)) is not None:
                    return Outcome("stranger", words=why)
                if kind == "user":
                    await client.delete_user(action.ding_id)
                else:
                    await client.delete_department(int(action.ding_id))
        return Outcome("done")


def outcome_of(action: Action, error: ApiError) -> Outcome:
    """Whether ``action`` was carried out, as far as ``error`` shows it."""
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
        reason = next((MISSING[name] for name in MISSING if name in action.fields), None)
        if reason is not None:
            return Outcome("pending", reason=reason)
    return Outcome("refused", code=error.code, words=str(error))
