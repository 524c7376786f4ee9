"""Who of an approval's people is forgotten: looked up for each approval that is written."""

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
    """``hide`` masks whoever is forgotten; ``alone``: nobody else took part, as far as is known."""

    hide: Hide
    alone: bool = False


async def forgotten_in(
    tx: Transaction,
    key: Row,
    row: Mapping[str, Any] | None,
    new_events: Sequence[Event],
    document: Mapping[str, Any] | None,
) -> Hidden:
    """Who is forgotten of the people in ``new_events`` and ``document``. ``row`` is the instance's, if there
    is one. An instance that was started after its person was forgotten is archived whole: the person was
    hired again under the same userid."""
    said = {str(number): {"data": dict(event.data)} for number, event in enumerate(new_events)}
    of_instance = {
        str(event.data.get("type")): {"time": event.time.isoformat(), "data": dict(event.data)}
        for event in new_events
        if event.event_type == "bpms_instance_change"
    }
    hides = []
    if row is not None and row["originator_userid"] == MASK:
        hides.append(hiding("", names_in_titles(document, said)))
    started = (row or {}).get("started_at") or instance_row(of_instance, document)["started_at"]
    started = started or min((event.time for event in new_events), default=None)
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
