"""What ``dingbridge callback`` works on: an app's credentials, its Open API, and the ingress to be asked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dingbridge.apps.model import Mode

if TYPE_CHECKING:
    from dingbridge.cli.callback.credentials import Generated
    from dingbridge.dingtalk.api import DingTalkClient
    from dingbridge.dingtalk.crypto import Credentials
    from dingbridge.settings.apps import App


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """An app at the Open API, and ``host:port`` of the private listener of its ingress."""

    app_key: str
    app_secret: str = field(repr=False)
    base: str
    app: "App"
    admin: str

    def client(self) -> "DingTalkClient":
        """Its client, to be entered."""
        from dingbridge.dingtalk.api import DingTalkClient

        return DingTalkClient(app_key=self.app_key, app_secret=self.app_secret, base=self.base)


@dataclass(frozen=True, slots=True)
class Target(ApiTarget):
    """The same, with what its callbacks are signed and encrypted with."""

    credentials: "Credentials"
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
    if found.mode == "stream":
        raise SettingsError(
            [
                f"the app {found.name} is in Stream mode (DINGTALK_MODE, or mode in DINGTALK_APPS_FILE): no "
                "URL is registered or tried; `dingbridge callback show` says whether connections are open"
            ]
        )
    if not found.credentials:
        raise SettingsError([f"the app {found.name} has no token and AES key"])
    app_key, app_secret = settings.api_credentials() if api else ("", "")
    current = found.credentials[0]
    credentials = Credentials(current.token, current.aes_key, found.owner_keys)
    return Target(
        app_key,
        app_secret,
        settings.dingtalk_api_base,
        found,
        admin_address(settings.admin_host, settings.admin_port),
        credentials,
        settings.dingtalk_apps_file,
    )


def api_target(app: str) -> ApiTarget:
    """The app of this name by the settings, for calls without callback credentials; ``SettingsError``."""
    from dingbridge.logging import configure_logging
    from dingbridge.settings import DingTalkApiSettings, JournalSettings
    from dingbridge.settings.apps import load_apps, pick

    class ApiSettings(DingTalkApiSettings, JournalSettings):
        """The app's credentials and mode, and where the private listener is."""

        dingtalk_mode: Mode = "http"

    settings = ApiSettings.load(consumer_app=app)
    configure_logging(settings)
    credentials = settings.api_credentials()
    found = pick(load_apps(settings), settings, app)
    admin = admin_address(settings.admin_host, settings.admin_port)
    return ApiTarget(*credentials, settings.dingtalk_api_base, found, admin)


def admin_address(host: str, port: int) -> str:
    """``host:port`` to ask at, of what is bound to."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to ask at, not to bind
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
