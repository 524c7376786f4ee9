"""What ``dingbridge callback`` works on: an app, its Open API, and the ingress to be asked."""

from dataclasses import dataclass

from dingbridge.apps.model import Mode
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.doctor.checks.ingress import admin_address
from dingbridge.errors import SettingsError
from dingbridge.logging import configure_logging
from dingbridge.settings import CallbackSettings, DingTalkApiSettings, JournalSettings
from dingbridge.settings.apps import App, load_apps, pick
from dingbridge.settings.base import mistakes_of


class _ApiSettings(DingTalkApiSettings, JournalSettings):
    """The app's credentials and mode, and where the private listener is."""

    dingtalk_mode: Mode = "http"

    def check(self) -> list[str]:
        return super().check() + mistakes_of(self.api_credentials)


class _CallbackSettings(CallbackSettings, _ApiSettings):
    """The same, with what callbacks are signed and encrypted with."""


@dataclass(frozen=True, slots=True)
class Target:
    """An app, by the settings of whoever calls the command."""

    app: App
    settings: _ApiSettings

    def client(self) -> DingTalkClient:
        """The app's client, to be entered."""
        key, secret = self.settings.api_credentials()
        settings = self.settings
        return DingTalkClient(
            app_key=key,
            app_secret=secret,
            base=settings.dingtalk_api_base,
            new_base=settings.new_api_base,
        )

    @property
    def live(self) -> bool:
        """Whether the Open API is DingTalk's own."""
        return self.settings.speaks_to_dingtalk

    @property
    def admin(self) -> str:
        """The private listener of the app's ingress, ``http://host:port``."""
        return admin_address(self.settings)

    @property
    def credentials(self) -> Credentials:
        """What the app's callbacks are signed and encrypted with."""
        current = self.app.credentials[0]
        return Credentials(current.token, current.aes_key, self.app.owner_keys)


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
                "URL is registered or tried; `dingbridge callback show` shows whether connections are open"
            ]
        )
    if signed and not found.credentials:
        raise SettingsError([f"the app {found.name} has no token and AES key"])
    return Target(found, settings)
