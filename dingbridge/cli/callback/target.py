"""What ``dingbridge callback`` works on: an app's credentials, its Open API, and the ingress to be asked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dingbridge.cli.callback.credentials import Generated
    from dingbridge.dingtalk.api import DingTalkClient
    from dingbridge.dingtalk.crypto import Credentials
    from dingbridge.settings.apps import App


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """An app at the Open API."""

    app_key: str
    app_secret: str = field(repr=False)
    base: str

    def client(self) -> "DingTalkClient":
        """Its client, to be entered."""
        from dingbridge.dingtalk.api import DingTalkClient

        return DingTalkClient(app_key=self.app_key, app_secret=self.app_secret, base=self.base)


@dataclass(frozen=True, slots=True)
class Target(ApiTarget):
    """The same, with what its callbacks are signed and encrypted with, and ``host:port`` of the private
    listener."""

    credentials: "Credentials"
    app: "App"
    admin: str
    apps_file: Path | None = None


def target(app: str, generated: "Generated | None" = None, *, api: bool = True) -> Target:
    """The app of this name by the settings, with ``generated`` in the place of its token and AES key. Without
    ``api`` no call of the Open API will be made, and its settings may be absent.

    Raises ``SettingsError`` with every mistake.
    """
    from pydantic import SecretStr

    from dingbridge.dingtalk.crypto import Credentials
    from dingbridge.errors import SettingsError
    from dingbridge.logging import configure_logging
    from dingbridge.settings import CallbackSettings, DingTalkApiSettings, JournalSettings
    from dingbridge.settings.apps import load_apps, pick

    class TargetSettings(CallbackSettings, DingTalkApiSettings, JournalSettings):
        """The callback's credentials, the app's, and where the private listener is."""

        def check(self) -> list[str]:
            problems = super().check()
            if api:
                try:
                    self.api_credentials()
                except SettingsError as error:
                    problems += error.problems
            return problems

    made = {} if generated is None else generated._asdict()
    given = {f"dingtalk_{name}": SecretStr(secret) for name, secret in made.items()}
    settings = TargetSettings.load(consumer_app=app, **given)
    configure_logging(settings)
    found = pick(load_apps(settings), settings, app)
    if not found.credentials:
        raise SettingsError([f"the app {found.name} has no token and AES key"])
    app_key, app_secret = settings.api_credentials() if api else ("", "")
    current = found.credentials[0]
    credentials = Credentials(current.token, current.aes_key, found.owner_keys)
    return Target(
        app_key,
        app_secret,
        settings.dingtalk_api_base,
        credentials,
        found,
        admin_address(settings.admin_host, settings.admin_port),
        settings.dingtalk_apps_file,
    )


def api_target(app: str) -> ApiTarget:
    """The app of this name by the settings, for calls without callback credentials; ``SettingsError``."""
    from dingbridge.logging import configure_logging
    from dingbridge.settings import DingTalkApiSettings, LogSettings

    class ApiSettings(DingTalkApiSettings, LogSettings):
        """The app's credentials."""

    settings = ApiSettings.load(consumer_app=app)
    configure_logging(settings)
    return ApiTarget(*settings.api_credentials(), settings.dingtalk_api_base)


def admin_address(host: str, port: int) -> str:
    """``host:port`` to ask at, of what is bound to."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to ask at, not to bind
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
