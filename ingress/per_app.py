"""What runs for each app by itself: begun when the app comes, ended when it goes, both when it changes.

Apps come and go with ``DINGTALK_APPS_FILE`` while the ingress runs.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from dingbridge.settings.apps import App
from dingbridge.tasks import WatchedTasks, end

Apps = Callable[[], Mapping[str, App]]
"""The apps of now, by name; another object once they have changed."""

EVERY_S: Final = 1.0
"""How often the apps are looked at."""
_LEAVE_S: Final = 60.0
"""For what is under way when an app goes."""


class AppTask(Protocol):
    """What runs for one app."""

    app: App

    async def stop(self, within_s: float) -> None:
        """End; what is under way is waited for, ``within_s`` at most."""
        ...


T = TypeVar("T", bound=AppTask)


class PerApp(ABC, Generic[T]):
    """One task for each app that is ``wanted``, by name in ``each``."""

    what: ClassVar[str]
    """What runs for the apps, in words."""
    _tasks: WatchedTasks
    """Those of the process, once ``start`` was called."""

    def __init__(self, apps: Apps) -> None:
        self._apps = apps
        self._seen: Mapping[str, App] | None = None
        self._following = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self.each: dict[str, T] = {}

    @abstractmethod
    def wanted(self, apps: Mapping[str, App]) -> Mapping[str, App]:
        """Those of ``apps`` for which something is to run."""

    @abstractmethod
    def begin(self, app: App) -> T:
        """What runs for ``app`` from now on."""

    async def gone(self, name: str) -> None:
        """What ran for the app ``name`` has ended, and nothing took its place."""

    def start(self, tasks: WatchedTasks) -> None:
        """Follow the apps by one of ``tasks``."""
        self._tasks = tasks
        self._watching = tasks.need(f"that follows the apps {self.what}", self.watch)

    async def watch(self) -> None:
        """Follow the apps until cancelled."""
        while True:
            await self.follow()
            await asyncio.sleep(EVERY_S)

    async def follow(self) -> None:
        """Begin with apps that are new or have other credentials; then end those of before."""
        async with self._following:
            if (apps := self._apps()) is self._seen:
                return
            self._seen, wanted, before = apps, self.wanted(apps), self.each
            self.each = {
                name: before[name] if name in before and _same(before[name].app, app) else self.begin(app)
                for name, app in wanted.items()
            }
            left = [one for name, one in before.items() if self.each.get(name) is not one]
            await asyncio.gather(*(one.stop(_LEAVE_S) for one in left))
            for one in left:
                if one.app.name not in self.each:
                    await self.gone(one.app.name)

    async def stop(self, within_s: float) -> None:
        """Follow no more, and end all of them, ``within_s`` for each step of it."""
        await end(self._watching)
        await asyncio.gather(*(one.stop(within_s) for one in self.each.values()))


def _same(app: App, wanted: App) -> bool:
    """Return whether what runs for ``app`` still matches the app's settings."""
    return all(getattr(wanted, name) == getattr(app, name) for name in ("app_key", "app_secret", "corp_id"))
