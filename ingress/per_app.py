"""What runs for each app by itself: begun when the app comes, ended when it goes, both when it changes.

Apps come and go with ``DINGTALK_APPS_FILE`` while the ingress runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from dingbridge.settings.apps import App

EVERY_S: Final = 1.0
"""How often the apps are looked at."""
_LEAVE_S: Final = 60.0
"""For what is under way when an app goes."""


class One(Protocol):
    """What runs for one app."""

    app: App

    async def stop(self, within_s: float) -> None:
        """End; what is under way is waited for, ``within_s`` at most."""
        ...


T = TypeVar("T", bound=One)


class PerApp(Generic[T]):
    """One of them for each app of ``wanted``. ``apps`` are those of now, another object once they have
    changed; ``begin`` makes and begins one, ``gone`` gets the name when one has ended and no other took its
    place."""

    def __init__(
        self,
        apps: Callable[[], Mapping[str, App]],
        wanted: Callable[[Mapping[str, App]], Mapping[str, App]],
        begin: Callable[[App], T],
        gone: Callable[[str], Awaitable[None]],
    ) -> None:
        self._apps, self._wanted, self._begin, self._gone = apps, wanted, begin, gone
        self._seen: Mapping[str, App] | None = None
        self.each: dict[str, T] = {}
        self.leaving: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Follow the apps until cancelled."""
        while True:
            self.follow()
            await asyncio.sleep(EVERY_S)

    def follow(self) -> None:
        """Begin with apps that are new or have other credentials, and end with those that are gone."""
        apps = self._apps()
        if apps is self._seen:
            return
        self._seen = apps
        wanted = self._wanted(apps)
        for name, one in list(self.each.items()):
            if name not in wanted or _needs(wanted[name]) != _needs(one.app):
                del self.each[name]
                task = asyncio.get_running_loop().create_task(self._leave(one))
                self.leaving.add(task)
                task.add_done_callback(self.leaving.discard)
        for name, app in wanted.items():
            if name not in self.each:
                self.each[name] = self._begin(app)

    async def stop(self, within_s: float) -> None:
        """End all of them, ``within_s`` for each step of it."""
        await asyncio.gather(*(one.stop(within_s) for one in self.each.values()))
        if self.leaving:
            _, late = await asyncio.wait(self.leaving, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _leave(self, one: T) -> None:
        await one.stop(_LEAVE_S)
        if one.app.name not in self.each:
            await self._gone(one.app.name)


def _needs(app: App) -> tuple[str | None, ...]:
    return app.app_key, app.app_secret, app.corp_id
