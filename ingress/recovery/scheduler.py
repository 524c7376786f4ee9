"""When the failed list of an app is read: every so often, and some minutes after an outage of our own.

DingTalk lists a push some 5 minutes after its last try; so that is how long after a start, or after the
journal takes writes again, there is something to read.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from dingbridge.api_budget import ApiCalls
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.budget import Priority
from dingbridge.errors import BridgeError
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App
from dingbridge.tasks import WatchedTasks, end
from ingress.journal.writer import Journal
from ingress.metrics import RecoveryMetrics
from ingress.recovery.poller import Poller, Result
from ingress.recovery.source import AppList, IsvList

log = structlog.get_logger(__name__)

_LOOK_EVERY_S: Final = 1.0


class Timer:
    """When the next run is due, in the seconds of one clock. Pure."""

    def __init__(self, every_s: float, after_outage_s: float, now: float) -> None:
        self._every_s, self._after_outage_s = every_s, after_outage_s
        self._due = now + after_outage_s
        self._was_well = True
        self._failures = 0

    def due(self, now: float, *, well: bool) -> bool:
        """Whether a run is due. ``well``: the journal takes writes; without it none is, and when it comes
        back one is due as after a start."""
        if well and not self._was_well:
            self._due = now + self._after_outage_s
        self._was_well = well
        return well and now >= self._due

    def ended(self, now: float, *, well: bool) -> None:
        """A run has ended. One that failed comes again as after an outage, the later the more often it
        fails."""
        self._failures = 0 if well else self._failures + 1
        delay_s = self._every_s
        if self._failures:
            backoff_s = max(1.0, self._after_outage_s) * 2 ** min(self._failures - 1, 20)
            delay_s = min(self._every_s, backoff_s)
        self._due = now + delay_s


class AppRecovery:
    """Recovery of one app in one ingress process. ``well`` says whether its journal takes writes."""

    def __init__(
        self,
        app: App,
        settings: IngressSettings,
        journal: Journal,
        metrics: RecoveryMetrics,
        well: Callable[[], bool],
    ) -> None:
        """Connects to nothing yet."""
        self.app = app
        self._settings, self._metrics, self._well = settings, metrics, well
        key, secret = app.api_credentials()
        self._calls = ApiCalls.of(settings, key)
        self._client = DingTalkClient(
            app_key=key, app_secret=secret, base=settings.dingtalk_api_base, budget=self._calls
        )
        kind = IsvList if settings.recovery_list == "isv" else AppList
        self._poller = Poller(app.name, kind(self._client.at(Priority.RECOVERY)), journal, metrics)
        self._task: asyncio.Task[None] | None = None
        self._running = asyncio.Lock()

    def start(self, tasks: WatchedTasks) -> None:
        """Begin to look at the clock."""
        self._metrics.read(self.app.name, time.time())  # so that one that never succeeds is seen, too
        self._task = tasks.need(f"that recovers failed pushes of {self.app.name}", self._regularly)

    async def stop(self, within_s: float) -> None:
        """End; a page that is on its way is waited for, ``within_s`` at most."""
        self._poller.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._running:
                pass
        await end(self._task)
        await self._client.close()
        await self._calls.close()

    async def run(self) -> Result:
        """A run at once. Raises ``BridgeError``, as ``Poller.run`` does."""
        async with self._running:
            try:
                return await self._poller.run()
            except TimeoutError as error:
                raise BridgeError("DingTalk did not give the failed list in time; try again") from error

    async def _regularly(self) -> None:
        every_s = self._settings.recovery_every_minutes * 60
        timer = Timer(every_s, self._settings.recovery_after_outage_s, time.monotonic())
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if not timer.due(time.monotonic(), well=self._well()):
                continue
            well = False
            try:
                await self.run()
                well = True
            except BridgeError as error:
                name = type(error).__name__
                log.warning("recovery.failed", app=self.app.name, error=name, reason=str(error))
            timer.ended(time.monotonic(), well=well)
