"""A wish with DingTalk's ids in the place of own ids, as far as there are any yet."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from dingbridge import Reader
from dingbridge.consumers.outbound.contacts.rows import Entity, members_among, userid_of
from dingbridge.consumers.outbound.ledger import Kind, Ledger, PendingReason, Wish, take
from dingbridge.consumers.outbound.store import REFERENCES, ding_ids

Referred = Kind | Literal["member"]
"""What own ids refer to; ``member``: a user who must be in the department, as its managers must."""

Missing = tuple[PendingReason, str]
"""Why a wish cannot be written yet, and what it waits for, as ``<kind>:<own id>``."""

MISSING: dict[str, PendingReason] = {
    "parent": "parent-missing",
    "departments": "department-missing",
    "manager": "manager-missing",
    "managers": "manager-missing",
}
"""What it is called while one of the field's own ids is not there; the first that is missing counts."""


NEEDED = frozenset({"name", "departments"})
"""What DingTalk creates nobody without (user-information-creation); of departments every message has it."""


def with_wish(ledger: Ledger, wish: Wish) -> Ledger:
    """``ledger`` with the row's wish; of the same version, references may have come since."""
    if ledger.wish is not None and ledger.wish.version == wish.version:
        return replace(ledger, wish=wish)
    return take(ledger, wish)


async def wish_of(db: Reader, entity: Entity) -> tuple[Wish, Missing | None]:
    """The row's wish with DingTalk's ids where it names departments and people, and what is not there yet."""

    async def ids(kind: Referred, own_ids: list[str]) -> dict[str, str]:
        if kind != "member":
            return await ding_ids(db, entity.corp_id, kind, own_ids)
        known = await ding_ids(db, entity.corp_id, "user", own_ids)
        inside = await members_among(db, entity.corp_id, own_ids, entity.ledger.owned_id)
        return {own_id: userid for own_id, userid in known.items() if own_id in inside}

    return await resolved(entity, ids)


async def resolved(
    entity: Entity, ids: Callable[[Referred, list[str]], Awaitable[dict[str, str]]]
) -> tuple[Wish, Missing | None]:
    """``ids`` gives the DingTalk ids of those own ids of a kind that are known (a plan's: or a name)."""
    chosen = userid_of(entity) if entity.kind == "user" else entity.own_id
    if entity.absent:
        return Wish(entity.version, {}, absent=True, since_ms=entity.since_ms, chosen=chosen), None
    wished = {name: value for name, value in entity.wish.items() if name != "userid"}
    missing: Missing | None = None
    for name, reason in MISSING.items():
        value = wished.get(name)
        kind: Referred = "member" if name == "managers" else REFERENCES[name]
        if value is None:
            continue
        own_ids = value if isinstance(value, list) else [value]
        known = await ids(kind, own_ids)
        absent = [own_id for own_id in own_ids if own_id not in known]
        if absent:
            del wished[name]
            missing = missing or (reason, f"{kind}:{absent[0]}")
            continue
        found = [
            int(known[own_id]) if kind == "department" and known[own_id].isdigit() else known[own_id]
            for own_id in own_ids
        ]
        wished[name] = found if isinstance(value, list) else found[0]
    return (
        Wish(
            entity.version, wished, absent=False, since_ms=entity.since_ms,
            missing=missing[0] if missing else None, chosen=chosen,
            creates=entity.kind == "department" or entity.wish.keys() >= NEEDED,
        ),
        missing,
    )  # fmt: skip
