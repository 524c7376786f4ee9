"""Recovery of every app that has an app key and a secret: each its own poller, client and times.

A failure of one delays no other. A list is read at an interval, and some minutes after a start, or after the
journal takes writes again: DingTalk lists a push some 5 minutes after its last try. Also here: the run that
an operator asks for.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.budget import Priority
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import RecoveryMetrics
from dingbridge.ingress.per_app import Apps, PerApp
from dingbridge.ingress.recovery.poller import Poller, Result
from dingbridge.retry import delay
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, pick, with_failed_lists
from dingbridge.tasks import WatchedTasks, end
from dingbridge.worker.api.budget import ApiCalls

log = structlog.get_logger(__name__)

_LOOK_EVERY_S: Final = 1.0


class AppRecovery:
    """Recovery of one app in one ingress process, by one of ``tasks``."""

    def __init__(
        self,
        app: App,
        settings: IngressSettings,
        journal: Journal,
        metrics: RecoveryMetrics,
        tasks: WatchedTasks,
    ) -> None:
        self.app = app
        self._settings, self._journal = settings, journal
        key, secret = app.api_credentials()
        self._calls = ApiCalls.of(settings, key)
        self._client = DingTalkClient(
            app_key=key,
            app_secret=secret,
            base=settings.dingtalk_api_base,
            new_base=settings.new_api_base,
            budget=self._calls,
        )
        self.poller = Poller(app.name, self._client.at(Priority.RECOVERY), journal, metrics)
        self._running = asyncio.Lock()
        if settings.recovery_every_minutes:
            self.poller.read_at_s = time.time()  # a list that is never read is an alarm, too
        else:
            log.info("recovery.off", app=app.name, reason="RECOVERY_EVERY_MINUTES is 0")
        self._task = tasks.need(f"that recovers failed pushes of {app.name}", self._regularly)

    async def stop(self, within_s: float) -> None:
        """End; a page that is on its way is waited for, ``within_s`` at most."""
        self.poller.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._running:
                pass
        await end(self._task)
        await self._client.close()
        await self._calls.close()

    async def run(self) -> Result:
        """A run at once. Raises ``BridgeError``, as ``Poller.run`` does."""
        async with self._running:
            return await self.poller.run()

    async def _regularly(self) -> None:
        every_s, soon_s = self._settings.recovery_every_minutes * 60, self._settings.recovery_after_outage_s
        due, failures = time.monotonic() + soon_s, 0
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._journal.fault is not None:  # a run is due some time after that is over, as after a start
                due = time.monotonic() + soon_s
            elif every_s and time.monotonic() >= due:
                try:
                    await self.run()
                    failures, wait_s = 0, float(every_s)
                except BridgeError as error:
                    failures += 1
                    wait_s = delay(failures, max(1.0, soon_s), every_s)
                    name = type(error).__name__
                    log.warning("recovery.failed", app=self.app.name, error=name, reason=str(error))
                due = time.monotonic() + wait_s


class Recovery(PerApp[AppRecovery]):
    """Recovery in one ingress process. Stopping waits for pages that are being read."""

    what = "whose failed pushes are read"

    def __init__(
        self, settings: IngressSettings, apps: Apps, journal: Journal, metrics: RecoveryMetrics
    ) -> None:
        super().__init__(apps)
        self._settings, self._journal, self._metrics = settings, journal, metrics
        self._unread: dict[str, str] = {}
        metrics.last_success.set_function(self._last_success_s)

    async def verb(self, options: dict[str, Any]) -> dict[str, Any]:
        """``POST /journal/recover``: a run at once for all apps, or for that of ``app``. Returns by app what
        it did, or under ``failed`` why the list was not read, under ``unread`` why it never is.

        Raises ``SettingsError`` for an app that there is not, or whose list is not read, or if none is."""
        await self.follow()  # one that goes may be reading the very list that another name reads now
        wanted = options.get("app")
        name = None if wanted is None else pick(self._apps(), self._settings, str(wanted)).name
        read = [one for one in self.each.values() if name in (None, one.app.name)]
        unread = {app: reason for app, reason in self._unread.items() if name in (None, app)}
        if not read:
            reasons = [f"{app}: {reason}" for app, reason in unread.items()]
            raise SettingsError(reasons or ["DINGTALK_APP_KEY and DINGTALK_APP_SECRET: not set"])
        done = await asyncio.gather(*map(_by_hand, read))
        return dict(zip([one.app.name for one in read], done, strict=True)) | {
            app: {"unread": reason} for app, reason in unread.items()
        }

    def wanted(self, apps: Mapping[str, App]) -> Mapping[str, App]:
        read, unread = with_failed_lists(apps)
        for name, reason in unread.items():
            if self._unread.get(name) != reason:
                log.info("recovery.off", app=name, reason=reason)
        self._unread = unread
        return read

    def begin(self, app: App) -> AppRecovery:
        return AppRecovery(app, self._settings, self._journal, self._metrics, self._tasks)

    def _last_success_s(self) -> float:
        """Of the app that is furthest behind."""
        return min((at for one in self.each.values() if (at := one.poller.read_at_s)), default=0)


async def _by_hand(one: AppRecovery) -> dict[str, Any]:
    try:
        result = await one.run()
    except BridgeError as error:
        return {"failed": str(error)}
    return {**result.counts(), "types": dict(sorted(result.types.items()))}
