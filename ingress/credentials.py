"""The apps that the ingress answers for: read at the start, and their file again each second.

A file that changed is read and checked whole before any of it is taken; one with mistakes changes nothing,
and they are logged. Credentials whose time is over are dropped. The file's form: ``dingbridge/apps/file.py``.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from aiohttp import web

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials
from dingbridge.errors import SettingsError
from dingbridge.health_server import json_response
from dingbridge.ingress.metrics import HttpMetrics
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, AppCredentials, bare_path_app, companies, load_apps

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0
"""How often the file is read."""

Take = Callable[[Mapping[str, CallbackCrypto], str | None], None]


class CredentialsWatcher:
    """``take`` gets the apps with their credentials, and whose the bare path is, whenever these change."""

    def __init__(self, settings: IngressSettings, take: Take, metrics: HttpMetrics) -> None:
        """Raises ``SettingsError`` with every mistake of the file."""
        self._settings, self._take, self._metrics = settings, take, metrics
        self._rejected: list[str] = []
        self._take_apps(load_apps(settings))
        self._accepted: dict[str, tuple[tuple[AppCredentials, ...], tuple[str, ...]]] = {}
        self._metrics.apps_file_rejected.set(0)
        self._offer(datetime.now(UTC))

    def _take_apps(self, apps: Mapping[str, App]) -> None:
        self.apps: Mapping[str, App] = apps
        """As last taken from the settings and the file; another object when they changed."""
        self.companies = companies(self._settings, apps)

    async def watch(self) -> None:
        """Until cancelled. A fault of ours ends it, and the process: credentials have to run out."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self._read_again()
            self._offer(datetime.now(UTC))

    def route(self) -> web.RouteDef:
        """Its route on the private listener: ``{"apps": {name: [fingerprint, …]}, "rejected": [words]}``."""

        async def show(request: web.Request) -> web.Response:
            return json_response(self.as_json())

        return web.get("/apps", show)

    def as_json(self) -> dict[str, Any]:
        """What is accepted now, by fingerprints; and what is wrong with the file, if it was not taken."""
        apps = {name: [pair.fingerprint for pair in pairs] for name, (pairs, _) in self._accepted.items()}
        return {"apps": apps, "rejected": self._rejected}

    async def _read_again(self) -> None:
        if self._settings.dingtalk_apps_file is None:
            return
        apps, problems = self.apps, list[str]()
        try:
            apps = await asyncio.to_thread(load_apps, self._settings)
        except SettingsError as error:
            problems = error.problems
        if apps == self.apps and problems == self._rejected:
            return
        if problems:
            log.error("apps.rejected", words=problems, meaning="the last valid content stays in force")
        else:
            self._take_apps(apps)
            log.info("apps.read", apps=sorted(apps))
        self._rejected = problems
        self._metrics.apps_file_rejected.set(bool(problems))

    def _offer(self, now: datetime) -> None:
        accepted = {app.name: (app.accepted(now), app.owner_keys) for app in self.apps.values()}
        accepted = {name: of for name, of in accepted.items() if of[0]}
        if accepted == self._accepted:
            return
        for name, (before, _) in self._accepted.items():
            for pair in set(before) - set(accepted[name][0] if name in accepted else ()):
                log.info("apps.retired", app=name, credentials=pair.fingerprint)
        self._take(
            {name: _crypto(pairs, owners) for name, (pairs, owners) in accepted.items()},
            bare_path_app(self.apps, self._settings),
        )
        self._accepted = accepted


def _crypto(pairs: tuple[AppCredentials, ...], owners: tuple[str, ...]) -> CallbackCrypto:
    return CallbackCrypto([Credentials(pair.token, pair.aes_key, owners) for pair in pairs])
