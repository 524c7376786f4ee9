"""The engine of a mirror: one step for each entity that is due.

It reads the entity by its id, decides, writes if no other process has claimed it meanwhile, and sets when it
is read next. Event, full sync, late answer and the limit of leavers are reasons and rules of its row.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Row

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import NotFound, PermissionDenied
from dingbridge.mirror.answers import READS_AT_ONCE, SETTLES_S, agreed, decide, disagreed_again_s, next_ms
from dingbridge.mirror.entities import COMPANY, LISTING, Entities, Entity
from dingbridge.mirror.full_sync import FullSync
from dingbridge.mirror.kind import Gone, Kind, Written
from dingbridge.mirror.leavers import CONFIRMED, MISSING, WAITS, WINDOW_S, LeaverLimit
from dingbridge.mirror.loop import Loop
from dingbridge.mirror.withheld import WITHHELD
from dingbridge.throttle import Throttle
from dingbridge.work_queue import RECONCILE
from dingbridge.worker.outcomes import Conflict
from dingbridge.worker.store.database import Database

log = structlog.get_logger(__name__)

ClientOf = Callable[[str, str], DingTalkClient]
"""The client for an app and a company."""


class Engine:
    """The reads of one process.

    ``kinds`` by name; ``client_of`` gives the client of an app and a company; ``pace`` is that of reads for
    full syncs; ``clock`` epoch s. ``written`` counts what this process wrote, by kind and ``changed`` or
    ``gone``.
    """

    def __init__(
        self,
        entities: Entities,
        kinds: Mapping[str, Kind],
        full_sync: FullSync,
        leavers: LeaverLimit,
        database: Database,
        client_of: ClientOf,
        pace: Throttle,
        clock: Callable[[], float],
    ) -> None:
        self.entities, self.kinds, self.full_sync, self.leavers = entities, kinds, full_sync, leavers
        self._database, self._client_of, self.pace, self._clock = database, client_of, pace, clock
        self.loop = Loop(entities, database, self.read, self.refused, clock)
        self.written: Counter[tuple[str, str]] = Counter()

    async def read(self, row: Row[Any]) -> bool:
        """Read the entity of ``row``; False: it must wait, and DingTalk was not asked. Raises ``Conflict``
        when another process has it, and ``ApiError``."""
        now_ms = self.entities.now_ms()
        client = self._client_of(row.app, row.corp_id)
        if row.reported is None and row.settles_ms > now_ms:
            async with self._database.transaction() as tx:
                await self.entities.queue.release(tx, row, due_ms=row.settles_ms)
            return False
        if row.priority == RECONCILE:
            await self.pace.turn()
        began_ms = self.entities.now_ms()
        try:
            if row.kind in (COMPANY, LISTING):
                return await self.full_sync.step(row, client)
            answer = await self.kinds[row.kind].read(client, row.entity_id)
        except NotFound:
            answer = None
        except PermissionDenied as error:
            if error.about != "entity":
                raise
            log.warning("entity.not_visible", kind=row.kind, entity_id=row.entity_id, errcode=error.errcode)
            await self.refused(row, error.code or "", None)
            return True
        await self._answered(row, answer, began_ms)
        return True

    async def refused(self, row: Row[Any], code: str, again_s: float | None) -> None:
        """Leave the rows of the entity as they are; it is read again in ``again_s`` s, and by an event or a
        full sync."""
        now_ms = self.entities.now_ms()
        due_ms = None if again_s is None else now_ms + round(again_s * 1000)
        settled = {"reported": None, "reported_ms": None, "reads": 0, "run_ms": None, "read_ms": now_ms}
        async with self._database.transaction() as tx:
            await self.entities.settle(tx, row, due_ms, settled, state="refused", code=code)

    async def _answered(self, row: Row[Any], answer: Any, began_ms: int) -> None:
        kind, entity = self.kinds[row.kind], Entity(row.corp_id, row.kind, row.entity_id)
        at = datetime.fromtimestamp(began_ms / 1000, UTC)
        async with self._database.transaction() as tx:
            if not await self.entities.queue.renew(tx, row):
                raise Conflict("another process has read this entity meanwhile")
            here = bool(await kind.here(tx, row.corp_id, [row.entity_id])) if answer is None else True
            exists = answer is not None
            missing = here and not exists and row.reported != "absent"
            state = (row.state if row.state in (WAITS, CONFIRMED) else MISSING) if missing else None
            # Invariant 9: reads that showed somebody do not count for the leaving
            reads = 1 if missing and state != row.state else row.reads + 1
            decision = decide(row.reported, reads, exists=exists, here=here)
            again_s, write = decision.again_s, decision.write
            reported = row.reported == "absent"
            left = write and here and not exists and kind.limited and not reported
            if left and not await self.leavers.allows(tx, row):
                write, state, again_s = False, WAITS, WINDOW_S
            written = Written()
            if write:
                gone_ms = began_ms if row.reported_ms is None else row.reported_ms
                gone = None if exists else Gone(datetime.fromtimestamp(gone_ms / 1000, UTC), reported)
                written = await kind.write(tx, entity, row.app, answer, gone, at)
                state = None
            if again_s is None and state is None:
                settled = began_ms >= row.settles_ms and written.again_s is None
                if not agreed(row.reported, changed=written.changed, settled=settled):
                    again_s = disagreed_again_s(reads, written.again_s)
                elif row.reported is None:
                    again_s = written.again_s
            settles = {"run_ms": None, "reads": reads if again_s is not None else 0}
            if again_s is None:
                settles |= {"reported": None, "reported_ms": None}
            settles_ms = row.settles_ms
            if row.reported is not None and reads <= READS_AT_ONCE:
                settles_ms = settles["settles_ms"] = began_ms + round(SETTLES_S * 1000)
            again_ms = None if again_s is None else self.entities.now_ms() + round(again_s * 1000)
            due_ms = next_ms(began_ms, again_ms, settles_ms)
            if due_ms != again_ms:  # nobody waits for the last read
                settles["priority"] = RECONCILE
            values = {"state": state, "code": None, "read_ms": began_ms}
            if written.withheld:
                values |= {"state": WITHHELD, "code": ",".join(written.withheld)}
            if left and write:
                values["left_ms"] = began_ms if row.state != CONFIRMED else None
            elif exists:
                values["left_ms"] = None
            await self.entities.settle(tx, row, due_ms, settles, **values)
        if written.changed:
            self.written[row.kind, "changed" if exists else "gone"] += 1
        log.debug(
            "mirror.read", kind=row.kind, entity_id=row.entity_id, exists=exists, changed=written.changed
        )
