"""Who of an approval's people is forgotten: asked of each one that is to be written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import select

from dingbridge import Event, Transaction
from dingbridge.consumers.approval.archive.document import Row, instance_row
from dingbridge.consumers.approval.archive.masking import (
    MASK,
    Hide,
    hiding,
    names_in_titles,
    names_of,
    originator,
    people_in,
    took_part,
)
from dingbridge.consumers.approval.tables import approval_forgotten

_c = approval_forgotten.c


@dataclass(frozen=True, slots=True)
class Hidden:
    """``hide`` masks whoever is forgotten; ``alone``: nobody else took part, as far as is told."""

    hide: Hide
    alone: bool = False


async def forgotten_in(
    tx: Transaction,
    key: Row,
    row: Mapping[str, Any] | None,
    told: Sequence[Event],
    document: Mapping[str, Any] | None,
) -> Hidden:
    """Who is forgotten of those whom ``told`` and ``document`` name, in an instance (``row``, if it is known)
    that was started before: of somebody hired again under the same userid everything later is archived."""
    said = {str(number): {"data": dict(event.data)} for number, event in enumerate(told)}
    of_instance = {
        str(event.data.get("type")): {"time": event.time.isoformat(), "data": dict(event.data)}
        for event in told
        if event.event_type == "bpms_instance_change"
    }
    hides = []
    if row is not None and row["originator_userid"] == MASK:
        hides.append(hiding("", names_in_titles(document, said)))
    started = (row or {}).get("started_at") or instance_row(of_instance, document)["started_at"]
    started = started or min((event.time for event in told), default=None)
    gone = await _forgotten(tx, key["corp_id"], people_in(document, said), started)
    hides += [hiding(userid, names_of(userid, document, of_instance)) for userid in gone]
    starter = originator(document, of_instance)
    alone = starter in gone and not took_part(document, said) - set(gone)
    return Hidden(partial(_hide, hides), alone)


async def _forgotten(tx: Transaction, corp_id: str, userids: set[str], started: datetime | None) -> list[str]:
    if not userids:
        return []
    listed = select(_c.userid, _c.forgotten_at).where(_c.corp_id == corp_id, _c.userid.in_(sorted(userids)))
    rows = await tx.execute(listed)
    return [row.userid for row in rows if started is None or started < row.forgotten_at]


def _hide(hides: Sequence[Hide], value: Any) -> Any:
    for hide in hides:
        value = hide(value)
    return value
