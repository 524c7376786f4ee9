"""When a full sync is due by itself, at the first start and every so many days, and the order for it.

Every process of the consumer looks, and writes the order into the consumer's inbox. Its id names the period,
so however many write it, it is one order, and one member of the group carries it out (``consumer.py``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func, select

from dingbridge import Database, Reader
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.runs import READ, Run, Runs
from dingbridge.consumers.address_sync.tables import guard
from dingbridge.events.envelope import NOBODY

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0

Order = Callable[[str, str, str], Awaitable[None]]
"""Writes an order into the inbox: its id, the corpId, and the reason."""


class Schedule:
    """The full syncs of one company that are due by the calendar. ``run`` never returns."""

    def __init__(
        self,
        database: Database,
        settings: AddressSyncSettings,
        order: Order,
        *,
        on_synced: Callable[[Run], None] = lambda run: None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """``on_synced`` receives, at each look, the last full sync that was done, if one was."""
        self._database, self._settings, self._order = database, settings, order
        self._on_synced, self._look_every_s = on_synced, look_every_s
        self._ordered: str | None = None
        self._said: str | None = None

    async def run(self) -> None:
        """Raises ``DependencyUnavailable`` when the database or Kafka is: call again."""
        while True:
            await self.look()
            await asyncio.sleep(self._look_every_s)

    async def look(self) -> None:
        """Order what is due, once for each period."""
        found = await company(self._database.reader(), self._settings)
        if len(found) != 1:
            self._log_ambiguous(found)
            return
        [corp_id] = found
        period = await self._due(corp_id)
        if period is None or period == self._ordered:
            return
        await self._order(period, corp_id, "scheduled")
        self._ordered = period

    async def _due(self, corp_id: str) -> str | None:
        """The id of the period for which a sync is due; after one that was given up, a new id the next
        day."""
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        runs = Runs(self._database, corp_id)
        last, done = await runs.last(*READ, "stopped"), await runs.last(*READ)
        if last is None:
            return f"{corp_id}/first/{today}"
        if done is not None:
            self._on_synced(done)
        days = self._settings.reconcile_every_days
        if not days or (last.ended_at or last.began_at) + timedelta(days=days) > datetime.now(UTC):
            return None
        return f"{corp_id}/after-{last.run_id}/{today}"

    def _log_ambiguous(self, found: list[str]) -> None:
        """Log it once while it stays the same: this is called every few seconds."""
        words = (
            "DINGTALK_CORP_ID is not set and no event has named the company yet: the full sync waits for it"
            if not found
            else "the tables hold several companies: set DINGTALK_CORP_ID to the one that this app belongs to"
        )
        if words != self._said:
            self._said = words
            log.warning("address_sync.which_company", reason=words)


async def company(reader: Reader, settings: AddressSyncSettings) -> list[str]:
    """The corpId of the settings, else those in the tables, from events."""
    if settings.dingtalk_corp_id is not None:
        return [settings.dingtalk_corp_id]
    found: list[str] = []
    corp_id, after = guard.table.c.corp_id, ""
    while after is not None:  # one step in the index for each company, instead of a look at everybody
        after = await reader.scalar(select(func.min(corp_id)).where(corp_id > after))
        found += [after] if after not in (None, NOBODY) else []
    return found
