"""The DingTalk apps that the bridge serves: the environment's one, and those of ``DINGTALK_APPS_FILE``.

Responsible for reading both, whole or not at all, with every mistake at once. Who answers callbacks with
the credentials (``ingress``) and who calls the Open API with them is not known here. What an app is: see
``dingbridge/apps/model.py``; who uses apps imports both from here.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr, field_validator

from dingbridge.apps.company import Companies
from dingbridge.apps.file import read_apps
from dingbridge.apps.model import CORP_ID, CORP_ID_MISSING, NAME, VARIABLE, App, AppCredentials, Mode
from dingbridge.errors import SettingsError
from dingbridge.settings.base import UNREADABLE, Settings

__all__ = [
    "VARIABLE",
    "App",
    "AppCredentials",
    "AppsSettings",
    "bare_path_app",
    "companies",
    "environment_app",
    "load_apps",
    "pick",
    "with_failed_lists",
]


class AppsSettings(Settings):
    """The app of the environment, and the file of others."""

    dingtalk_app_name: str = "default"
    """the app's name in `source` and in the path `/callback/<name>`; a-z, 0-9, -"""
    dingtalk_apps_file: Path | None = None
    """a TOML file of further apps and companies, read again while the ingress runs"""
    dingtalk_corp_id: str | None = None
    """the CorpId of the company that the environment's app belongs to, on the front page of
    open-dev.dingtalk.com"""

    @field_validator("dingtalk_app_name")
    @classmethod
    def _name(cls, value: str) -> str:
        if problem := NAME.problem(value):
            raise ValueError(problem)
        return value

    def check(self) -> list[str]:
        problems = super().check()
        if self.dingtalk_corp_id is not None:
            why = CORP_ID.problem(self.dingtalk_corp_id)
        else:
            why = CORP_ID_MISSING if environment_app(self) is not None else None
        return problems if why is None else [*problems, f"DINGTALK_CORP_ID: {why}"]

    @property
    def live(self) -> bool:
        """Whether the public sample values are mistakes."""
        return False


def load_apps(settings: AppsSettings) -> dict[str, App]:
    """All apps by name, the environment's first if it has one. Raises ``SettingsError`` with every mistake
    of the file."""
    apps = {} if (own := environment_app(settings)) is None else {own.name: own}
    if settings.dingtalk_apps_file is not None:
        found, problems = read_apps(settings.dingtalk_apps_file, live=settings.live)
        problems += _clashes(found, own) + _two_streams({**apps, **found})
        if problems:
            raise SettingsError(problems)
        apps |= found
    return apps


def companies(settings: AppsSettings, apps: Mapping[str, App] | None = None) -> Companies:
    """The company of each of ``apps``; None: of those that ``load_apps`` returns. Raises as that does."""
    of_app = dict(Companies.of_apps(load_apps(settings) if apps is None else apps).of_app)
    if settings.dingtalk_corp_id is not None:  # a consumer that calls no API needs no credentials
        of_app.setdefault(settings.dingtalk_app_name, settings.dingtalk_corp_id)
    return Companies(of_app)


def bare_path_app(apps: Mapping[str, App], settings: AppsSettings) -> str | None:
    """Whose callbacks come to the callback path itself, and to ``…/default``: the environment's app, else one
    named ``default``."""
    own = environment_app(settings)
    if own is not None and own.credentials:
        return own.name
    return "default" if "default" in apps and apps["default"].credentials else None


def pick(apps: Mapping[str, App], settings: AppsSettings, name: str) -> App:
    """The app of this name; ``default`` is the environment's too. Raises ``SettingsError``."""
    own = environment_app(settings)
    wanted = own.name if name == "default" and own is not None else name
    if wanted not in apps:
        raise SettingsError([f"--app: {name} is none of the apps: {', '.join(apps) or '(none)'}"])
    return apps[wanted]


def with_failed_lists(apps: Mapping[str, App]) -> tuple[dict[str, App], dict[str, str]]:
    """Those whose list of failed pushes is read, and of the others why not. Two readers of one list would
    destroy each other's pages, so of several names of one app key the first reads."""
    read: dict[str, App] = {}
    unread: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, app in apps.items():
        if app.suite:
            unread[name] = "it is a suite, whose list this version does not read"
        elif not app.app_key or not app.app_secret:
            unread[name] = "its app key or app secret is not set"
        elif app.app_key in names:
            unread[name] = f"the app {names[app.app_key]} has the same app key, and reads their one list"
        else:
            read[name], names[app.app_key] = app, name
    return read, unread


def environment_app(settings: AppsSettings) -> App | None:
    """The app of ``DINGTALK_TOKEN``, ``DINGTALK_APP_KEY`` and their sisters, or ``None`` if none is set."""

    def text(name: str) -> str:
        value = getattr(settings, name, None)
        secret = value.get_secret_value() if isinstance(value, SecretStr) else value
        return "" if not isinstance(secret, str) or secret.startswith(UNREADABLE) else secret

    token, aes_key = text("dingtalk_token"), text("dingtalk_aes_key")
    app_key, app_secret = text("dingtalk_app_key"), text("dingtalk_app_secret")
    if not (token or aes_key or app_key or app_secret):
        return None
    mode: Mode = getattr(settings, "dingtalk_mode", "http")
    return App(
        settings.dingtalk_app_name,
        (AppCredentials(token, aes_key),) if token and aes_key and mode == "http" else (),
        tuple(getattr(settings, "dingtalk_owner_key", ())),
        app_key or None,
        app_secret or None,
        settings.dingtalk_corp_id,
        mode=mode,
    )


def _clashes(found: Mapping[str, App], own: App | None) -> list[str]:
    if own is None:
        return []
    return [
        f"{VARIABLE}: apps.{name}: the environment's app answers to this name already (DINGTALK_APP_NAME; to "
        "`default` too); name this one otherwise"
        for name in sorted({own.name, "default"} & found.keys())
    ]


def _two_streams(apps: Mapping[str, App]) -> list[str]:
    """DingTalk gives each event to one of an app's connections, at random (protocol.md): two names for one
    app would each get a part of its events."""
    names: dict[str | None, str] = {}
    return [
        f"{VARIABLE}: apps.{name}: has the app_key of {first}, and both are in Stream mode: each would get a "
        "part of the app's events; keep one of them"
        for name, app in apps.items()
        if app.mode == "stream" and (first := names.setdefault(app.app_key, name)) != name
    ]
