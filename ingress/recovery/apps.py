"""Recovery of every app that has an app key and a secret: each its own poller, client and times.

What fails with one holds up no other. Also here: the run that an operator asks for, and what an earlier
process left behind.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from dingbridge.errors import BridgeError, SettingsError
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, pick, with_failed_lists
from dingbridge.tasks import WatchedTasks, end
from ingress.errors import JournalUnavailable
from ingress.journal.writer import Journal
from ingress.metrics import RecoveryMetrics
from ingress.per_app import PerApp
from ingress.recovery.poller import Result, settle
from ingress.recovery.scheduler import AppRecovery

log = structlog.get_logger(__name__)


class Recovery:
    """Recovery in one ingress process. ``apps`` are those of now, another object once they have changed;
    ``well`` says whether the journal takes writes."""

    def __init__(
        self,
        settings: IngressSettings,
        apps: Callable[[], Mapping[str, App]],
        journal: Journal,
        metrics: RecoveryMetrics,
        well: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings, self._apps, self._journal = settings, apps, journal
        self._metrics, self._well = metrics, well
        self._unread: dict[str, str] = {}
        self._per_app = PerApp(apps, self._with_lists, self._begin, self._gone)
        self._tasks: WatchedTasks | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self, tasks: WatchedTasks) -> None:
        """Settle what an earlier process left behind, and begin to look at the clock, unless that is switched
        off. No run may be asked for before."""
        try:
            await settle(self._journal, self._metrics)
        except JournalUnavailable as error:  # then each app's first run does
            log.warning("recovery.journal_away", reason=str(error))
        if not self._settings.recovery_every_minutes:
            log.info("recovery.off", reason="RECOVERY_EVERY_MINUTES is 0")
            return
        self._tasks = tasks
        self._watching = tasks.need("that follows the apps whose failed pushes are read", self._per_app.watch)

    async def stop(self, within_s: float) -> None:
        """End; pages that are on their way are waited for, ``within_s`` at most."""
        await end(self._watching)
        await self._per_app.stop(within_s)

    async def verb(self, options: dict[str, Any]) -> dict[str, Any]:
        """``POST /journal/recover``: a run at once for all apps, or for that of ``app``, and what it did.

        Raises ``BridgeError`` when no list could be read; of several that were asked for, those that failed
        are told under ``failed``, others that nobody reads under ``unread``.
        """
        wanted = options.get("app")
        chosen = await self._chosen(wanted)
        done = await asyncio.gather(*(one.run() for one in chosen), return_exceptions=True)
        failed: dict[str, str] = {}
        results: list[Result] = []
        for one, result in zip(chosen, done, strict=True):
            if isinstance(result, Result):
                results.append(result)
            elif isinstance(result, BridgeError) and len(chosen) > 1:
                failed[one.app.name] = str(result)
            else:
                raise result
        if not results:
            raise BridgeError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
        unread = self._unread if wanted is None else {}
        told = {"failed": failed, "unread": unread}
        return _sum(results) | {name: reasons for name, reasons in told.items() if reasons}

    async def _chosen(self, name: Any) -> list[AppRecovery]:
        await self._per_app.follow()  # one that goes may be reading the very list that another name reads now
        each = self._per_app.each
        if name is not None:
            app = pick(self._apps(), self._settings, str(name))
            if app.name not in each:
                raise SettingsError([f"--app: {app.name}: {self._unread[app.name]}"])
            return [each[app.name]]
        if not each:
            reasons = [f"{name}: {reason}" for name, reason in self._unread.items()]
            raise SettingsError(reasons or ["DINGTALK_APP_KEY and DINGTALK_APP_SECRET: not set"])
        return list(each.values())

    def _with_lists(self, apps: Mapping[str, App]) -> dict[str, App]:
        read, unread = with_failed_lists(apps)
        for name, reason in unread.items():
            if self._unread.get(name) != reason:
                log.info("recovery.off", app=name, reason=reason)
        self._unread = unread
        return read

    def _begin(self, app: App) -> AppRecovery:
        one = AppRecovery(app, self._settings, self._journal, self._metrics, self._well)
        if self._tasks is not None:
            one.start(self._tasks)
        return one

    async def _gone(self, name: str) -> None:
        self._metrics.forget(name)


def _sum(results: Sequence[Result]) -> dict[str, Any]:
    total, types = Counter[str](), Counter[str]()
    for result in results:
        total.update(result.counts())
        types.update(result.types)
    return {**total, "types": dict(sorted(types.items()))}
