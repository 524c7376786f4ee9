"""The DingTalk apps that the bridge serves: the environment's one, and those of ``DINGTALK_APPS_FILE``.

Responsible for reading both, whole or not at all, with every mistake at once. Who answers callbacks with
the credentials (``ingress``) and who calls the Open API with them is not known here.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import SecretStr

from bridge.errors import SettingsError
from bridge.settings import UNREADABLE, AppsSettings

VARIABLE: Final = "DINGTALK_APPS_FILE"
NAME_RE: Final = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """What an app's callbacks are signed and encrypted with; accepted until ``until`` (``None``: no end)."""

    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    until: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """Names this pair without telling it: a digest over 256 random bits of key cannot be guessed."""
        return hashlib.sha256(f"dingbridge\0{self.token}\0{self.aes_key}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class App:
    """One app of one company. ``credentials``: the current ones first, then others that are still accepted,
    or already (``[apps.<name>.next]``); empty where only the Open API is wanted. ``suite``: a third-party
    app's suite, which calls the Open API in the name of a company."""

    name: str
    credentials: tuple[AppCredentials, ...]
    owner_keys: tuple[str, ...]
    app_key: str | None = None
    app_secret: str | None = field(default=None, repr=False)
    corp_id: str | None = None
    suite: bool = False

    def accepted(self, now: datetime) -> tuple[AppCredentials, ...]:
        """Those whose time has not run out at ``now``."""
        return tuple(pair for pair in self.credentials if pair.until is None or now < pair.until)

    @property
    def calls_api(self) -> bool:
        """Whether it can call the Open API in its own name, which a suite does not."""
        return bool(self.app_key and self.app_secret) and not self.suite

    def api_credentials(self) -> tuple[str, str]:
        """``(app key, app secret)``. Raises ``SettingsError`` when either is missing."""
        if not self.app_key or not self.app_secret:
            raise SettingsError(
                [f"{VARIABLE}: apps.{self.name}: has no app_key and app_secret (Client ID and Client Secret)"]
            )
        return self.app_key, self.app_secret


def load_apps(settings: AppsSettings) -> dict[str, App]:
    """All apps by name, the environment's first if it has one. Raises ``SettingsError`` with every mistake
    of the file."""
    apps = {} if (own := environment_app(settings)) is None else {own.name: own}
    if settings.dingtalk_apps_file is not None:
        from bridge.apps_file import read_apps

        found, problems = read_apps(settings.dingtalk_apps_file, live=settings.live)
        problems += _clashes(found, own)
        if problems:
            raise SettingsError(problems)
        apps |= found
    return apps


def problems_of(settings: AppsSettings) -> list[str]:
    """The mistakes of the file, one line each; none without a file."""
    try:
        load_apps(settings)
    except SettingsError as error:
        return error.problems
    return []


def bare_path_app(apps: Mapping[str, App], settings: AppsSettings) -> str | None:
    """Whose callbacks come to the callback path itself, and to ``…/default``: the environment's app, else one
    named ``default``."""
    own = environment_app(settings)
    if own is not None and own.credentials:
        return own.name
    return "default" if "default" in apps else None


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
    return App(
        settings.dingtalk_app_name,
        (AppCredentials(token, aes_key),) if token and aes_key else (),
        tuple(getattr(settings, "dingtalk_owner_key", ())),
        app_key or None,
        app_secret or None,
        getattr(settings, "dingtalk_corp_id", None),
    )


def _clashes(found: Mapping[str, App], own: App | None) -> list[str]:
    if own is None:
        return []
    return [
        f"{VARIABLE}: apps.{name}: the environment's app answers to this name already (DINGTALK_APP_NAME; to "
        "`default` too); name this one otherwise"
        for name in sorted({own.name, "default"} & found.keys())
    ]
