"""What ``dingbridge callback`` works on: an app, its Open API, and the ingress to be asked."""

from dataclasses import dataclass, field
from pathlib import Path

from dingbridge.apps.model import Mode
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.doctor.checks.ingress import admin_address
from dingbridge.errors import SettingsError
from dingbridge.logging import configure_logging
from dingbridge.settings import CallbackSettings, DingTalkApiSettings, JournalSettings
from dingbridge.settings.apps import App, load_apps, pick
from dingbridge.settings.base import mistakes_of


@dataclass(frozen=True, slots=True)
class Target:
    """``admin`` is the private listener of the app's ingress (``http://host:port``); ``live``: the Open API
    at ``base`` is DingTalk's own."""

    app: App
    app_key: str
    app_secret: str = field(repr=False)
    base: str
    live: bool
    admin: str
    apps_file: Path | None

    def client(self) -> DingTalkClient:
        """The app's client, to be entered."""
        return DingTalkClient(app_key=self.app_key, app_secret=self.app_secret, base=self.base)

    @property
    def credentials(self) -> Credentials:
        """What the app's callbacks are signed and encrypted with."""
        current = self.app.credentials[0]
        return Credentials(current.token, current.aes_key, self.app.owner_keys)


class _ApiSettings(DingTalkApiSettings, JournalSettings):
    """The app's credentials and mode, and where the private listener is."""

    dingtalk_mode: Mode = "http"

    def check(self) -> list[str]:
        return super().check() + mistakes_of(self.api_credentials)


class _CallbackSettings(CallbackSettings, _ApiSettings):
    """The same, with what callbacks are signed and encrypted with."""


def target(app: str, *, signed: bool = True) -> Target:
    """The app of this name by the settings; ``signed``: with credentials of its callbacks.

    Raises ``SettingsError`` with every mistake.
    """
    settings = (_CallbackSettings if signed else _ApiSettings).load(consumer_app=app)
    configure_logging(settings)
    found = pick(load_apps(settings), settings, app)
    if signed and found.mode == "stream":
        raise SettingsError(
            [
                f"the app {found.name} is in Stream mode (DINGTALK_MODE, or mode in DINGTALK_APPS_FILE): no "
                "URL is registered or tried; `dingbridge callback show` says whether connections are open"
            ]
        )
    if signed and not found.credentials:
        raise SettingsError([f"the app {found.name} has no token and AES key"])
    return Target(
        found,
        *settings.api_credentials(),
        settings.dingtalk_api_base,
        settings.speaks_to_dingtalk,
        admin_address(settings),
        settings.dingtalk_apps_file,
    )
