"""The settings of DingTalk's two sides: the Open API that we call, and the callbacks that it sends us.

Both look into the apps file for credentials that do not stand in the environment; reading it is
``dingbridge/settings/apps.py``'s.
"""

from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from dingbridge.apps.model import AES_KEY, CORP_ID_MISSING, OWNER, SAMPLE_CREDENTIALS, TOKEN, Mode
from dingbridge.errors import SettingsError
from dingbridge.outgoing.hosts import NEW_API, OLD_API, beside, of_dingtalk
from dingbridge.outgoing.proxy import mistakes
from dingbridge.settings.apps import AppsSettings, load_apps
from dingbridge.settings.base import UNREADABLE, CommaList, ZoneName, mistakes_of
from dingbridge.settings.database import DatabaseSettings


def _api_base(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text repeats a part of the address, in which a password may stand
        usable = False
    if not usable:
        raise ValueError("must be an http(s) address, as https://oapi.dingtalk.com")
    if parts.scheme == "http" and of_dingtalk(value):
        raise ValueError(
            "must begin with https:// for DingTalk's own hosts: http would send the app's secret in clear"
        )
    return value.rstrip("/")


ApiBase = Annotated[str, AfterValidator(_api_base)]
"""The type of DINGTALK_API_BASE: an address, to DingTalk's own hosts by https alone; no slash at its end."""


class DingTalkApiSettings(AppsSettings, DatabaseSettings):
    """Where DingTalk's Open API is, and the app that calls it: ``consumer_app``, of the environment
    (``default``) or of the apps file."""

    consumer_app: str = "default"
    """of several apps, the one of full syncs, backfills and commands; `default`: the environment's"""
    dingtalk_app_key: str | None = None
    """Client ID"""
    dingtalk_app_secret: SecretStr | None = None
    """secret; Client Secret"""
    dingtalk_api_base: ApiBase = OLD_API
    """the old API's address; overseas `https://oapi.dingtalk.io`; the simulator's instead, for trials"""
    dingtalk_new_api_base: ApiBase | None = None
    """the new API's; unset: `https://api.dingtalk.com`, overseas `https://api.dingtalk.io`; of any other
    DINGTALK_API_BASE that one"""
    dingtalk_timezone: ZoneName = "Asia/Shanghai"
    """of times that the API writes without a zone; and of the console's pages, until the browser names its
    own"""
    api_monthly_budget: int = Field(4000, ge=0, le=1_000_000_000)
    """API calls in a month at most, of the 5,000 of the free plan, by all processes with one PostgreSQL in
    `DATABASE_URL`, else with one `DATA_DIR`; 0 for no limit"""
    api_calls_per_s: float = Field(20, gt=0, le=10_000)
    """calls of one API in a second that DingTalk's plan allows the app; each process makes a tenth less.
    Where several call much at once, give each its share"""

    @property
    def new_api_base(self) -> str:
        """The address of the new API."""
        return self.dingtalk_new_api_base or beside(self.dingtalk_api_base, NEW_API)

    @property
    def speaks_to_dingtalk(self) -> bool:
        """Whether the API base is DingTalk's own, so that no sample credential may be used."""
        return of_dingtalk(self.dingtalk_api_base)

    @property
    def live(self) -> bool:
        return self.speaks_to_dingtalk

    def check(self) -> list[str]:
        problems = super().check() + mistakes()
        for variable, sample in SAMPLE_CREDENTIALS.items():
            value = getattr(self, variable.lower(), None)
            values = value if isinstance(value, list) else [value]
            plain = [v.get_secret_value() if isinstance(v, SecretStr) else v for v in values]
            if self.speaks_to_dingtalk and sample in plain:
                problems.append(
                    f"{variable}: is the public sample value of the local stack; set your app's own, "
                    "or point DINGTALK_API_BASE at the simulator"
                )
        return problems

    @property
    def calls_api(self) -> bool:
        """Whether the app of ``consumer_app`` has credentials for the Open API. False for a broken file."""
        return not mistakes_of(self.api_credentials)

    def api_credentials(self) -> tuple[str, str]:
        """``(app key, app secret)`` of ``consumer_app``. Raises ``SettingsError`` when either is missing."""
        own = self.consumer_app in ("default", self.dingtalk_app_name)
        if self.dingtalk_apps_file is not None and not (own and self.dingtalk_app_key):
            apps = load_apps(self)
            if self.consumer_app in apps:
                if apps[self.consumer_app].suite:
                    raise SettingsError(
                        [
                            f"CONSUMER_APP (or --app): {self.consumer_app} is a third-party suite, as which "
                            "nothing here calls the Open API; name another app"
                        ]
                    )
                return apps[self.consumer_app].api_credentials()
            names = ", ".join(apps)
            raise SettingsError(
                [f"CONSUMER_APP (or --app): {self.consumer_app} is none of the apps: {names}"]
            )
        if not own:
            raise SettingsError(
                [f"CONSUMER_APP (or --app): {self.consumer_app} is no app; DINGTALK_APPS_FILE names some"]
            )
        problems = []
        if not self.dingtalk_app_key:
            problems.append("DINGTALK_APP_KEY: not set; it is the Client ID on your app's page")
        if not self.dingtalk_app_secret:
            problems.append(
                "DINGTALK_APP_SECRET (or DINGTALK_APP_SECRET_FILE): not set; it is the Client Secret "
                "on your app's page"
            )
        if problems or not self.dingtalk_app_key or not self.dingtalk_app_secret:
            raise SettingsError(problems)
        return self.dingtalk_app_key, self.dingtalk_app_secret.get_secret_value()


class CallbackSettings(AppsSettings):
    """The credentials that callbacks are signed and encrypted with.

    ``dingtalk_owner_key`` is one or several of appKey, corpId or suiteKey: which of them DingTalk uses
    depends on how the callback was registered (callback-event-message-body-encryption-and-decryption).
    """

    dingtalk_mode: Mode = "http"
    """how events come, as the app's console says: `http` (a callback URL) or `stream`, which needs
    DINGTALK_APP_KEY and DINGTALK_APP_SECRET instead of the next three"""
    dingtalk_token: SecretStr = SecretStr("")
    """secret; the Token of the event subscription"""
    dingtalk_aes_key: SecretStr = SecretStr("")
    """secret; its EncodingAESKey, 43 characters"""
    dingtalk_owner_key: CommaList = Field(default_factory=list)
    """one or several, with commas: Client ID, corpId, suiteKey"""

    reads_apps_file: ClassVar[bool] = True
    """False where the file's mistakes are somebody else's business."""

    needs_app: ClassVar[bool] = True
    """False where no callback is read, so that there may be no app."""

    def check(self) -> list[str]:
        problems = super().check()
        if not self.needs_app:
            return problems
        token, aes_key = self.dingtalk_token.get_secret_value(), self.dingtalk_aes_key.get_secret_value()
        if self.dingtalk_apps_file is not None:
            if self.reads_apps_file:
                problems += mistakes_of(lambda: load_apps(self))
            if self.dingtalk_mode == "http" and not (token or aes_key or self.dingtalk_owner_key):
                return problems  # no app of the environment's own
        if self.dingtalk_corp_id is None:
            problems.append(f"DINGTALK_CORP_ID: {CORP_ID_MISSING}")
        if self.dingtalk_mode == "stream":
            return problems + [
                f"{variable}: not set; Stream mode opens its connections with it ({title} on the app's page)"
                for variable, title in (
                    ("DINGTALK_APP_KEY", "Client ID"),
                    ("DINGTALK_APP_SECRET", "Client Secret"),
                )
                if not getattr(self, variable.lower(), None)
            ]
        if not token:
            problems.append(
                "DINGTALK_TOKEN (or DINGTALK_TOKEN_FILE): not set; it is the Token of the event subscription"
            )
        if not aes_key:
            problems.append(
                "DINGTALK_AES_KEY (or DINGTALK_AES_KEY_FILE): not set; it is the EncodingAESKey of the "
                "event subscription"
            )
        elif not aes_key.startswith(UNREADABLE) and (why := AES_KEY.problem(aes_key)):
            problems.append(f"DINGTALK_AES_KEY: {why}")
        if not self.dingtalk_owner_key:
            problems.append(
                "DINGTALK_OWNER_KEY: not set; try the appKey (Client ID) first, then the corpId; "
                "several may stand here, comma separated"
            )
        # else only the ingress would meet these, after all others were fixed
        if token and not token.startswith(UNREADABLE) and (why := TOKEN.problem(token)):
            problems.append(f"DINGTALK_TOKEN: {why}")
        wrong = map(OWNER.problem, self.dingtalk_owner_key)
        problems += [f"DINGTALK_OWNER_KEY: {why}" for why in wrong if why]
        return problems
