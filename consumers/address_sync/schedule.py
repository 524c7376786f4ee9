"""When a full sync is due by itself, at the first start and every so many days, and the order for it.

Every process of the consumer looks, and writes the order into the consumer's inbox. Its id names the period,
so however many write it, it is one order, and one member of the group carries it out (``consumer.py``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from dingbridge import Database
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.runs import READ, Run, Runs

LOOK_EVERY_S = 5.0

Order = Callable[[str, str, str], Awaitable[None]]
"""Writes an order into the inbox: its id, the corpId, and the reason."""


class Schedule:
    """The full syncs of one company that are due by the calendar. ``run`` never returns."""

    def __init__(
        self,
        database: Database,
        settings: AddressSyncSettings,
        corp_id: str,
        order: Order,
        *,
        on_synced: Callable[[Run], None] = lambda run: None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """``on_synced`` receives, at each look, the last full sync that was done, if one was."""
        self._database, self._settings, self._corp_id, self._order = database, settings, corp_id, order
        self._on_synced, self._look_every_s = on_synced, look_every_s
        self._ordered: str | None = None

    async def run(self) -> None:
        """Raises ``DependencyUnavailable`` when the database or Kafka is: call again."""
        while True:
            await self.look()
            await asyncio.sleep(self._look_every_s)

    async def look(self) -> None:
        """Order what is due, once for each period."""
        period = await self._due()
        if period is None or period == self._ordered:
            return
        await self._order(period, self._corp_id, "scheduled")
        self._ordered = period

    async def _due(self) -> str | None:
        """The id of the period for which a sync is due; after one that was given up, a new id the next
        day."""
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        corp_id = self._corp_id
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
