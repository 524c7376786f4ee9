"""Recovery of every app that has an app key and a secret: each its own poller, client and times.

A failure of one delays no other. A list is read at an interval, and some minutes after a start, or after the
journal takes writes again: DingTalk lists a push some 5 minutes after its last try. Also here: the run that
an operator asks for.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.budget import Priority
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import RecoveryMetrics
from dingbridge.ingress.per_app import Apps, PerApp
from dingbridge.ingress.recovery.poller import AppList, IsvList, Poller, Result, settle
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, pick, with_failed_lists
from dingbridge.tasks import WatchedTasks, end
from dingbridge.worker.api.budget import ApiCalls

log = structlog.get_logger(__name__)

_LOOK_EVERY_S: Final = 1.0


class Timer:
    """When the next run is due, in the seconds of one clock. Pure."""

    def __init__(self, every_s: float, after_outage_s: float, now: float) -> None:
        self._every_s, self._after_outage_s = every_s, after_outage_s
        self._due = now + after_outage_s
        self._failures = 0

    def due(self, now: float, *, well: bool) -> bool:
        """Whether a run is due. ``well``: the journal takes writes; without it none is, and afterwards one is
        due as after a start."""
        if not well:
            self._due = now + self._after_outage_s
        return well and now >= self._due

    def ended(self, now: float, *, well: bool) -> None:
        """A run has ended. One that failed comes again as after an outage, the later the more often it
        fails."""
        self._failures = 0 if well else self._failures + 1
        backoff_s = max(1.0, self._after_outage_s) * 2 ** min(self._failures - 1, 20)
        self._due = now + (self._every_s if well else min(self._every_s, backoff_s))


class AppRecovery:
    """Recovery of one app in one ingress process."""

    def __init__(
        self, app: App, settings: IngressSettings, journal: Journal, metrics: RecoveryMetrics
    ) -> None:
        """Connects to nothing yet."""
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
        kind = IsvList if settings.recovery_list == "isv" else AppList
        self.poller = Poller(app.name, kind(self._client.at(Priority.RECOVERY)), journal, metrics)
        self._task: asyncio.Task[None] | None = None
        self._running = asyncio.Lock()

    def start(self, tasks: WatchedTasks) -> None:
        """Begin to look at the clock."""
        self.poller.read_at_s = time.time()  # so that one that never succeeds is seen, too
        self._task = tasks.need(f"that recovers failed pushes of {self.app.name}", self._regularly)

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
        every_s = self._settings.recovery_every_minutes * 60
        timer = Timer(every_s, self._settings.recovery_after_outage_s, time.monotonic())
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if not timer.due(time.monotonic(), well=self._journal.fault is None):
                continue
            well = False
            try:
                await self.run()
                well = True
            except BridgeError as error:
                name = type(error).__name__
                log.warning("recovery.failed", app=self.app.name, error=name, reason=str(error))
            timer.ended(time.monotonic(), well=well)


class Recovery(PerApp[AppRecovery]):
    """Recovery in one ingress process; by hand also without ``start``. As it stops, it waits for pages that
    are on their way."""

    what = "whose failed pushes are read"

    def __init__(
        self, settings: IngressSettings, apps: Apps, journal: Journal, metrics: RecoveryMetrics
    ) -> None:
        super().__init__(apps)
        self._settings, self._journal, self._metrics = settings, journal, metrics
        self._unread: dict[str, str] = {}
        metrics.last_success.set_function(self._last_success_s)
        metrics.oldest.set_function(
            lambda: max((one.poller.oldest_s for one in self.each.values()), default=0)
        )

    def start(self, tasks: WatchedTasks) -> None:
        """Begin to look at the clock, unless that is switched off. What an earlier process left behind must
        be settled before."""
        if self._settings.recovery_every_minutes:
            super().start(tasks)
        else:
            log.info("recovery.off", reason="RECOVERY_EVERY_MINUTES is 0")

    async def settle(self) -> None:
        """Settle what an earlier process left behind. No run may be asked for before."""
        try:
            await settle(self._journal, self._metrics)
        except JournalUnavailable as error:  # then each app's first run does
            log.warning("recovery.journal_away", reason=str(error))

    async def verb(self, options: dict[str, Any]) -> dict[str, Any]:
        """``POST /journal/recover``: a run at once for all apps, or for that of ``app``, and what it did.

        Raises ``BridgeError`` when no list could be read; of several that were asked for, those that failed
        stand under ``failed``, others that nobody reads under ``unread``.
        """
        wanted = options.get("app")
        chosen = await self._chosen(wanted)
        done = await asyncio.gather(*(one.run() for one in chosen), return_exceptions=True)
        counts, types, failed = Counter[str](), Counter[str](), dict[str, str]()
        for one, result in zip(chosen, done, strict=True):
            if isinstance(result, Result):
                counts.update(result.counts())
                types.update(result.types)
            elif isinstance(result, BridgeError) and len(chosen) > 1:
                failed[one.app.name] = str(result)
            else:
                raise result
        if len(failed) == len(chosen):
            raise BridgeError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
        others = {"failed": failed, "unread": self._unread if wanted is None else {}}
        reasons = {name: why for name, why in others.items() if why}
        return {**counts, "types": dict(sorted(types.items())), **reasons}

    async def _chosen(self, name: Any) -> list[AppRecovery]:
        await self.follow()  # one that goes may be reading the very list that another name reads now
        if name is not None:
            app = pick(self._apps(), self._settings, str(name))
            if app.name not in self.each:
                raise SettingsError([f"--app: {app.name}: {self._unread[app.name]}"])
            return [self.each[app.name]]
        if not self.each:
            reasons = [f"{name}: {reason}" for name, reason in self._unread.items()]
            raise SettingsError(reasons or ["DINGTALK_APP_KEY and DINGTALK_APP_SECRET: not set"])
        return list(self.each.values())

    def wanted(self, apps: Mapping[str, App]) -> Mapping[str, App]:
        read, unread = with_failed_lists(apps)
        for name, reason in unread.items():
            if self._unread.get(name) != reason:
                log.info("recovery.off", app=name, reason=reason)
        self._unread = unread
        return read

    def begin(self, app: App) -> AppRecovery:
        one = AppRecovery(app, self._settings, self._journal, self._metrics)
        if self._watching is not None:
            one.start(self._tasks)
        return one

    def _last_success_s(self) -> float:
        """Of the app that is furthest behind."""
        return min((at for one in self.each.values() if (at := one.poller.read_at_s)), default=0)
