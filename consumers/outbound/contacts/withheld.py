"""Fields that a person's answer lacks, and that the row has seen.

DingTalk leaves a field out where it is empty, and where the app has no right to it any more
(query-user-details). Another person's answer tells the two apart.
"""

from typing import Final

import structlog
from sqlalchemy import select

from dingbridge import Reader
from dingbridge.consumers.outbound.contacts.dingtalk import Contacts
from dingbridge.consumers.outbound.contacts.rows import Entity, entity_of
from dingbridge.consumers.outbound.ledger import Ledger, Observed
from dingbridge.consumers.outbound.tables import outbound_entity

log = structlog.get_logger(__name__)

AGAIN_MS: Final = 24 * 3_600_000
"""When a person of whom a field is withheld is read again, in ms."""
_ROWS: Final = 20
_HOLDERS: Final = 3
"""So many rows are searched for people who have the field, and so many of these are read, at most."""
_e = outbound_entity.c


async def without_withheld(
    db: Reader, contacts: Contacts, entity: Entity, ledger: Ledger, observed: Observed
) -> Observed:
    """Take out of ``observed`` the fields that DingTalk shows of nobody: the row keeps what it has of them. A
    field of this person alone counts as emptied. Raises ``ApiError``."""
    withheld = set()
    for name in observed.lacking:
        if (ledger.seen or {}).get(name) and await _is_withheld(db, contacts, entity, name):
            withheld.add(name)
            log.warning("outbound.field_withheld", field=name, own_id=entity.own_id)
    left = {name: value for name, value in observed.fields.items() if name not in withheld}
    return Observed(observed.ding_id, left, observed.mark, observed.by, tuple(withheld))


async def _is_withheld(db: Reader, contacts: Contacts, entity: Entity, name: str) -> bool:
    """Whether others have the field by their rows, and DingTalk shows it of none of them."""
    others = (_e.corp_id == entity.corp_id, _e.kind == "user", _e.own_id != entity.own_id, _e.present)
    value = _e.ledger.contains(f'"{name}":{{"' if name == "extension" else f'"{name}":"')
    rows = await db.execute(select(outbound_entity).where(*others, value).limit(_ROWS))
    holders = [one.owned_id for one in (entity_of(row).ledger for row in rows) if (one.seen or {}).get(name)]
    for userid in holders[:_HOLDERS]:
        other = await contacts.read("user", str(userid))
        if other is not None and name not in other.lacking:
            return False
    return bool(holders)
