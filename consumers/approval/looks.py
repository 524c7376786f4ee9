"""Looks at approval instances through the Open API, and what was seen written to the archive.

Used for events and, at another priority, for what asks by itself: second looks, orders to compare, backfills.
Not here: which event asks for a look (``consumer.py``), and what becomes of what was seen (``archive.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy import select

from consumers.approval.archive import Archive
from consumers.approval.codes import ProcessCodes
from consumers.approval.tables import KIND, approval_instances, guard
from dingbridge import Conflict, Database, Event, Reader, Transaction
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.error_codes import says_not_there
from dingbridge.dingtalk.errors import ApiError
from dingbridge.snapshots import Snapshot
from dingbridge.snapshots.coerce import as_text
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

UNFINISHED = frozenset({"NEW", "RUNNING"})
"""``status`` of an instance that is not at its end."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at an instance. ``document`` is None when the API does not know it, or was not asked.

    ``main`` is a look at the instance that this one takes back, if it does: its action may be undone.
    """

    look: Snapshot
    document: dict[str, Any] | None = None
    fetched: bool = False
    process_code: str | None = None
    main: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Looks:
    """What looks need: the Open API, the archive, and the database in which it stands."""

    database: Database
    dingtalk: DingTalkClient
    archive: Archive
    codes: ProcessCodes

    def at(self, priority: Priority) -> "Looks":
        """The same, with calls of this priority."""
        return replace(self, dingtalk=self.dingtalk.at(priority))

    async def fetch(self, look: Snapshot, event: Event | None, db: Reader) -> Seen:
        """Fetch the instance of ``look``, which ``event`` asks for if one does.

        Raises ``ApiError``, also for a code that nobody knows: taken for "not there" it would close the
        instance without its action, and nothing would ask again. An event is tried again instead, and at
        last stands among the dead letters.
        """
        instance_id = look.entity_id
        document: dict[str, Any] | None = None
        try:
            document = await self.dingtalk.approval(instance_id)
        except ApiError as error:
            if not says_not_there(error):
                raise
            log.warning("approval.not_at_api", instance_id=instance_id, errcode=error.errcode)
        if event is not None and document is not None and document.get("status") in UNFINISHED:
            log.warning("approval.api_lags", instance_id=instance_id, event_id=event.id)
        code = None if event is None else await self._process_code(event, look, document, db)
        return Seen(look, document, True, code, await _main_of(look, document, db))

    async def keep(self, seen: Seen, *, forced: bool = False) -> bool:
        """Archive what was seen where no event asked for it, in a transaction of its own; whether all of it
        went well. Where the action or undo fails, the rest is archived, and the state in ``approval_actions``
        is one that ``dingbridge approvals actions`` calls again: an event could be retried, but here one
        fault in somebody's function would stop everything else, again at each start.

        Raises as ``write``, and what is no fault of the function.
        """
        try:
            async with self.database.transaction() as tx:
                await self.write(tx, seen, forced=forced)
            return True
        except Exception as error:
            if isinstance(error, Conflict) or is_unavailable(error):
                raise
            failed = error
        async with self.database.transaction() as tx:
            await self.write(tx, seen, forced=forced, failed=failed)
        return False

    async def write(
        self,
        tx: Transaction,
        seen: Seen,
        event: Event | None = None,
        *,
        forced: bool = False,
        failed: Exception | None = None,
    ) -> bool:
        """Archive what was seen; whether anything changed. ``forced`` and ``failed`` as ``Effects.settle``.
        Raises ``Conflict`` when another look was written meanwhile."""
        await guard.claim(tx, seen.look, fetched=seen.fetched)
        changed = await self.archive.write(
            tx,
            {"corp_id": seen.look.corp_id, "instance_id": seen.look.entity_id},
            event=event,
            document=seen.document,
            process_code=seen.process_code,
            forced=forced,
            failed=failed,
        )
        if seen.main is not None:
            # of two transactions that do not see each other, neither would find that the other revokes it
            await guard.claim(tx, seen.main, fetched=False)
            main = {"corp_id": seen.main.corp_id, "instance_id": seen.main.entity_id}
            await self.archive.settle(tx, main, failed=failed)  # what revokes another has no action itself
        return changed

    async def _process_code(
        self, event: Event, look: Snapshot, document: Mapping[str, Any] | None, db: Reader
    ) -> str | None:
        """The template's code where neither this event nor the archive has it."""
        if event.data.get("processCode"):
            return None
        columns = approval_instances.c
        known = select(columns.process_code).where(
            columns.corp_id == look.corp_id, columns.instance_id == look.entity_id
        )
        if await db.scalar(known):
            return None
        title = as_text((document or {}).get("title") or event.data.get("title"))
        return await self.codes.of_title(self.dingtalk, title)


async def _main_of(look: Snapshot, document: Mapping[str, Any] | None, db: Reader) -> Snapshot | None:
    """A look at the instance that the instance of ``look`` takes back; None when it takes none back."""
    main = as_text((document or {}).get("main_process_instance_id"))
    if not main or main == look.entity_id:
        return None
    if str((document or {}).get("biz_action")).upper() != "REVOKE":
        return None
    return await guard.snapshot(db, look.corp_id, KIND, main)
