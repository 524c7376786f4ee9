"""Recovery of every app that has an app key and a secret: each its own poller, client and times.

What fails with one holds up no other. Also here: the run that an operator asks for, and what an earlier
process left behind.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import structlog

from dingbridge.errors import BridgeError, SettingsError
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, pick, with_failed_lists
from ingress.errors import JournalUnavailable
from ingress.metrics import RecoveryMetrics
from ingress.per_app import PerApp
from ingress.recovery.poller import Result, settle
from ingress.recovery.scheduler import AppRecovery
from ingress.recovery.state import Journal, RecoveryState

log = structlog.get_logger(__name__)

_SETTLE_EVERY_S: Final = 10.0


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
        self._settings, self._apps, self._state = settings, apps, RecoveryState(journal)
        self._metrics, self._well = metrics, well
        self._unread: dict[str, str] = {}
        self._by_itself = False
        self._per_app = PerApp(apps, self._with_lists, self._begin, self._gone)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Settle what an earlier process left behind, and begin to look at the clock, unless that is switched
        off."""
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._settle()))
        if not self._settings.recovery_every_minutes:
            log.info("recovery.off", reason="RECOVERY_EVERY_MINUTES is 0")
            return
        self._by_itself = True
        self._per_app.follow()
        self._tasks.append(loop.create_task(self._per_app.watch()))

    async def stop(self, within_s: float) -> None:
        """End; pages that are on their way are waited for, ``within_s`` at most."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
        answer = as_answer(results)
        if failed:
            answer["failed"] = failed
        if self._unread and wanted is None:
            answer["unread"] = self._unread
        return answer

    async def _chosen(self, name: Any) -> list[AppRecovery]:
        self._per_app.follow()
        each = self._per_app.each
        # one that goes may be reading the very list that another name reads now
        if self._per_app.leaving:
            await asyncio.wait(self._per_app.leaving)
        if name is not None:
            app = pick(self._apps(), self._settings, str(name))
            if app.name not in each:
                raise SettingsError([f"--app: {app.name}: {self._unread[app.name]}"])
            return [each[app.name]]
        if not each:
            reasons = [f"{name}: {reason}" for name, reason in self._unread.items()]
            raise SettingsError(reasons or ["DINGTALK_APP_KEY and DINGTALK_APP_SECRET: not set"])
        return list(each.values())

    async def _settle(self) -> None:
        while True:
            try:
                await settle(self._state, self._metrics)
                return
            except JournalUnavailable as error:
                log.warning("recovery.journal_away", reason=str(error))
                await asyncio.sleep(_SETTLE_EVERY_S)

    def _with_lists(self, apps: Mapping[str, App]) -> dict[str, App]:
        read, unread = with_failed_lists(apps)
        for name, reason in unread.items():
            if self._unread.get(name) != reason:
                log.info("recovery.off", app=name, reason=reason)
        self._unread = unread
        return read

    def _begin(self, app: App) -> AppRecovery:
        one = AppRecovery(app, self._settings, self._state, self._metrics, self._well)
        if self._by_itself:
            one.start()
        return one

    async def _gone(self, name: str) -> None:
        self._metrics.forget(name)


def as_answer(results: list[Result]) -> dict[str, Any]:
    """For an operator: the sum."""
    total: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for result in results:
        found = asdict(result)
        types.update(result.types)
        for name in ("oldest_ms", "types"):
            del found[name]
        for name, value in found.items():
            total[name] += value
    return {**total, "types": dict(sorted(types.items()))}
