"""Which form is in force where approved instances were changed or taken back: an instance itself has no sign
of it.

A change of an approved instance is another instance (``bizAction`` MODIFY), taking it back is one as well
(REVOKE); each names the first one as ``mainProcessInstanceId``, and the first one's
``attachedProcessInstanceIds`` grows (get-details-single-approval-instance). An instance with all that change
it or take it back, and what changes those, is a family here:

- an approved REVOKE takes back the whole family, also where it names a change: that is what people see as
  the approval by then (not documented);
- else the latest approved MODIFY is in force, and else the instance that the family began with.

It follows from the rows of all, so from no order. An id that is named and not known is read
(``linked_to``). Not here: what happens to the actions (``consumers/approval/actions``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import func, select, update

from dingbridge import Reader, Transaction
from dingbridge.consumers.approval.archive.document import COMPLETED
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.snapshots.coerce import as_list, as_text

MODIFY, REVOKE = "MODIFY", "REVOKE"
"""``bizAction`` of an instance that changes or takes back another one."""
MOST: Final = 20
"""Members of a family that are looked at, the latest first, and ids of one instance that are taken up."""

_columns = approval_instances.c
_EVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Member:
    """An instance, by what counts here. ``biz_action`` is None where it changes and takes back nothing."""

    instance_id: str
    biz_action: str | None
    approved: bool
    finished_at: datetime | None
    process_code: str | None
    replaced_by: str | None = None
    revoked_by: str | None = None

    @property
    def _order(self) -> tuple[datetime, str]:
        return self.finished_at or _EVER, self.instance_id


@dataclass(frozen=True, slots=True)
class Family:
    """The members that the archive knows, by id, at least the one that was asked about if it is known."""

    members: Mapping[str, Member] = field(default_factory=dict)

    @property
    def root(self) -> Member | None:
        """What the others change; None where the archive does not know it, or they name each other."""
        return next((member for member in self.members.values() if member.biz_action is None), None)

    def _latest(self, biz_action: str) -> str | None:
        found = [m for m in self.members.values() if m.approved and m.biz_action == biz_action]
        return max(found, key=lambda m: m._order).instance_id if found else None

    @property
    def revoked_by(self) -> str | None:
        """The instance that takes the family back."""
        return self._latest(REVOKE)

    @property
    def changed_by(self) -> str | None:
        """The change that is in force."""
        return self._latest(MODIFY)

    @property
    def in_force(self) -> str | None:
        """The instance whose form is in force, unless the family is taken back."""
        return self.changed_by or (self.root.instance_id if self.root else None)

    def said_of(self, instance_id: str) -> dict[str, str | None]:
        """The columns ``replaced_by`` and ``revoked_by`` of a member."""
        member = self.members[instance_id]
        counts = member.biz_action is None or (member.biz_action == MODIFY and member.approved)
        changed_by = self.changed_by if counts and self.changed_by != instance_id else None
        return {"replaced_by": changed_by, "revoked_by": self.revoked_by if counts else None}

    def in_order(self) -> list[str]:
        """All, the one in force last: the actions of the others are undone before its own is called."""
        in_force = self.in_force
        return sorted(self.members, key=lambda id_: (id_ == in_force, id_))


def main_of(document: Mapping[str, Any] | None) -> str | None:
    """The instance that the instance of this document changes or takes back."""
    api = document or {}
    changes = str(api.get("bizAction")).upper() in (MODIFY, REVOKE)
    return as_text(api.get("mainProcessInstanceId")) or None if changes else None


async def ancestors(
    db: Reader | Transaction, corp_id: str, instance_id: str, document: Mapping[str, Any] | None = None
) -> list[str]:
    """What the instance changes or takes back, what that one does, and so on, the nearest first.

    ``document`` counts for the instance itself, where there is one. Whoever writes a member of a family locks
    the rows of these entities too, in this order: so two never do it at once.
    """
    found: list[str] = []
    main = await _main_id(db, corp_id, instance_id) if document is None else main_of(document)
    while main is not None and main != instance_id and main not in found and len(found) < MOST:
        found.append(main)
        main = await _main_id(db, corp_id, main)
    return found


async def family(db: Reader | Transaction, corp_id: str, instance_id: str) -> Family:
    """The family of an instance, as the archive has it."""
    members: dict[str, Member] = {}
    above: str | None = instance_id
    while above is not None and above not in members and len(members) < MOST:
        row = (await db.execute(_select(corp_id).where(_columns.instance_id == above))).one_or_none()
        if row is None:
            break
        members[above] = member = _member(row)
        above = None if member.biz_action is None else row.main_instance_id
    new = list(members)
    while new and len(members) < MOST:
        below = _select(corp_id).where(
            _columns.main_instance_id.in_(new), func.upper(_columns.biz_action).in_((MODIFY, REVOKE))
        )
        latest = (_columns.finished_at.is_(None), _columns.finished_at.desc(), _columns.instance_id)
        rows = await db.execute(below.order_by(*latest).limit(MOST))
        found = {row.instance_id: _member(row) for row in rows}
        new = [id_ for id_ in found if id_ not in members]
        members = found | members
    return Family(members)


def _select(corp_id: str) -> Any:
    return select(
        _columns.instance_id,
        _columns.main_instance_id,
        _columns.biz_action,
        _columns.outcome,
        _columns.status,
        _columns.finished_at,
        _columns.process_code,
        _columns.replaced_by,
        _columns.revoked_by,
    ).where(_columns.corp_id == corp_id)


async def write(tx: Transaction, corp_id: str, found: Family) -> None:
    """Write which form is in force into the rows of the family that have another."""
    for instance_id, member in found.members.items():
        values = found.said_of(instance_id)
        if values != {"replaced_by": member.replaced_by, "revoked_by": member.revoked_by}:
            row = (_columns.corp_id == corp_id) & (_columns.instance_id == instance_id)
            now = datetime.now(UTC)
            await tx.execute(update(approval_instances).where(row).values(**values, updated_at=now))


def linked_to(document: Mapping[str, Any]) -> set[str]:
    """The ids of the instances that ``document`` changes, or that change it, ``MOST`` of these."""
    attached = (as_list(document.get("attachedProcessInstanceIds")) or [])[:MOST]
    return {text for text in (main_of(document), *map(as_text, attached)) if text}


async def _main_id(db: Reader | Transaction, corp_id: str, instance_id: str) -> str | None:
    found = select(_columns.main_instance_id).where(
        _columns.corp_id == corp_id,
        _columns.instance_id == instance_id,
        func.upper(_columns.biz_action).in_((MODIFY, REVOKE)),
    )
    row = (await db.execute(found)).one_or_none()
    return None if row is None else row.main_instance_id


def _member(row: Any) -> Member:
    biz_action = str(row.biz_action or "").upper()
    return Member(
        row.instance_id,
        biz_action if biz_action in (MODIFY, REVOKE) else None,
        # Invariant 8: by its document, since it causes the undo of another one's action
        row.outcome == "approved" and str(row.status).upper() == COMPLETED,
        row.finished_at,
        row.process_code,
        row.replaced_by,
        row.revoked_by,
    )
