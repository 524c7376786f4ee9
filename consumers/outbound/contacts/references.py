"""A desired state with DingTalk's ids in place of own ids, as far as they exist yet."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from dingbridge import Reader
from dingbridge.consumers.outbound.contacts.rows import Entity, members_among, userid_of
from dingbridge.consumers.outbound.fields import DINGTALK_IDS
from dingbridge.consumers.outbound.ledger import DesiredState, Kind, Ledger, PendingReason, take
from dingbridge.consumers.outbound.store import REFERENCES, ding_ids

Referred = Kind | Literal["member"]
"""What own ids refer to; ``member``: a user who must be in the department, as its managers must."""

Missing = tuple[PendingReason, str]
"""Why a desired state cannot be written yet, and what it waits for, as ``<kind>:<own id>``."""

MISSING: dict[str, PendingReason] = {
    "parent": "parent-missing",
    "departments": "department-missing",
    "manager": "manager-missing",
    "managers": "manager-missing",
}
"""The reason while one of the field's own ids does not exist in DingTalk; the first missing field counts."""


NEEDED: dict[Kind, frozenset[str]] = {
    "user": frozenset({"name", "departments"}),
    "department": frozenset({"name", "parent"}),
}
"""What a message must have to create one (user-information-creation,
address-book-creation-department-established-department)."""


def with_desired(ledger: Ledger, desired: DesiredState) -> Ledger:
    """``ledger`` with the row's desired state; of the same version, references may have come since."""
    if ledger.desired is not None and ledger.desired.version == desired.version:
        return replace(ledger, desired=desired)
    return take(ledger, desired)


async def desired_of(db: Reader, entity: Entity) -> tuple[DesiredState, Missing | None]:
    """The row's desired state, with DingTalk's ids in place of own ones, and what is missing."""

    async def ids(kind: Referred, own_ids: list[str]) -> dict[str, str]:
        if kind != "member":
            return await ding_ids(db, entity.corp_id, kind, own_ids)
        known = await ding_ids(db, entity.corp_id, "user", own_ids)
        inside = await members_among(db, entity.corp_id, own_ids, entity.ledger.owned_id)
        return {own_id: userid for own_id, userid in known.items() if own_id in inside}

    return await resolved(entity, ids)


async def resolved(
    entity: Entity, ids: Callable[[Referred, list[str]], Awaitable[dict[str, str]]]
) -> tuple[DesiredState, Missing | None]:
    """``ids`` gives the DingTalk ids of those own ids of a kind that are known (a plan's: or a name)."""
    chosen = userid_of(entity) if entity.kind == "user" else entity.own_id
    if entity.absent:
        gone = DesiredState(
            entity.version, {}, absent=True, since_ms=entity.since_ms, chosen=chosen,
            immediate=entity.immediate,
        )  # fmt: skip
        return gone, None
    wanted = {name: value for name, value in entity.desired.items() if name != DINGTALK_IDS[entity.kind]}
    missing: Missing | None = None
    for name, reason in MISSING.items():
        value = wanted.get(name)
        kind: Referred = "member" if name == "managers" else REFERENCES[name]
        if value is None:
            continue
        own_ids = value if isinstance(value, list) else [value]
        known = await ids(kind, own_ids)
        absent = [own_id for own_id in own_ids if own_id not in known]
        if absent:
            del wanted[name]
            missing = missing or (reason, f"{kind}:{absent[0]}")
            continue
        found = [
            int(known[own_id]) if kind == "department" and known[own_id].isdigit() else known[own_id]
            for own_id in own_ids
        ]
        wanted[name] = found if isinstance(value, list) else found[0]
    return (
        DesiredState(
            entity.version, wanted, absent=False, since_ms=entity.since_ms,
            missing=missing[0] if missing else None, chosen=chosen,
            creates=entity.desired.keys() >= NEEDED[entity.kind],
        ),
        missing,
    )  # fmt: skip
