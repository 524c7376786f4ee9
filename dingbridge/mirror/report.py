"""What ``dingbridge consume NAME --show`` prints of a mirror's entities."""

from typing import Final

from sqlalchemy import Table, select

from dingbridge.mirror.leavers import WAITS
from dingbridge.mirror.withheld import WITHHELD
from dingbridge.worker.consumer import Table as Printed
from dingbridge.worker.context import Reader
from dingbridge.worker.reports import first_rows

_FAILING: Final = "not read so far, and tried again"
_TITLES: Final = {
    "refused": "not read, and as they were before",
    WITHHELD: "as they were before in fields that DingTalk's answers lack",
    WAITS: "not known to DingTalk, beyond MAX_LEAVERS a day; if these N people did leave: dingbridge resync "
    "--confirm-leavers N",
}


async def in_doubt(db: Reader, entities: Table) -> list[Printed]:
    """Return a table for each state that a person should know and that has entities, and one for those whose
    last read failed. Raises ``DatabaseDown``."""
    c = entities.c
    what = (c.kind.label("what"), c.entity_id.label("id"), c.code.label("DingTalk's code, or the fields"))
    rows = select(*what).order_by(c.kind, c.entity_id)
    failing = rows.where(c.failed_ms.is_not(None), c.state.is_distinct_from("refused"))
    shown = [await first_rows(db, _FAILING, failing)]
    shown += [await first_rows(db, title, rows.where(c.state == state)) for state, title in _TITLES.items()]
    return [one for one in shown if one[2]]
