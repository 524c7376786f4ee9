"""Settings: read from the environment, checked together, before anything listens.

Every setting is an environment variable (the upper-case name of a field below); a secret may stand in
a file instead, named by ``<NAME>_FILE``. Each process loads the one class that names what it needs.
``load`` reports *all* mistakes at once. This module knows what a setting means, not what is done with it.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.errors import SettingsError

DINGTALK_API_BASE = "https://oapi.dingtalk.com"

SAMPLE_CREDENTIALS = {
    "DINGTALK_TOKEN": "dingbridgeSampleToken1",
    "DINGTALK_AES_KEY": "dingbridge0sample0aes0key0not0secret0000000",
    "DINGTALK_OWNER_KEY": "dingsampleappkey01",
    "DINGTALK_APP_KEY": "dingsampleappkey01",
    "DINGTALK_APP_SECRET": "dingbridge-sample-secret-not-secret",
}
"""What the local stack (simulator, demo, compose) uses. Public, therefore refused against DingTalk itself."""

UNREADABLE = "\0"
"""Begins the value of a secret whose file could not be read: ``check`` reports it with all the others."""

CommaList = Annotated[list[str], NoDecode]


class SecretFiles(PydanticBaseSettingsSource):
    """Reads ``<NAME>_FILE`` for every field that holds a secret; a trailing newline is dropped."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # __call__ does it all

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            if "SecretStr" not in str(field.annotation):
                continue
            variable = f"{name.upper()}_FILE"
            path = os.environ.get(variable)
            if not path:
                continue
            try:
                found[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                found[name] = f"{UNREADABLE}{variable}: names a file that cannot be read ({reason})"
        return found


class Settings(BaseSettings):
    """Base of all settings classes: how they load, and how mistakes are collected."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, populate_by_name=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFiles(settings_cls)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """The settings of this process, from ``overrides`` (field names), then the environment.

        Raises ``SettingsError`` with one line for every mistake: first of single values, then of values
        that contradict each other, checked over whatever did parse.
        """
        problems: list[str] = []
        try:
            settings = cls(**overrides)
        except ValidationError as error:
            bad: dict[str, Any] = {}
            for item in error.errors(include_url=False, include_input=False):
                name = str(item["loc"][0]) if item["loc"] else ""
                problems.append(f"{name.upper()}: {_words(item['msg'])}")
                if name in cls.model_fields:
                    bad[name] = cls.model_fields[name].get_default(call_default_factory=True)
            # every field has a default, so that what did parse can still be checked against each other
            settings = cls(**{**overrides, **bad})
        problems += settings.check()
        if problems:
            raise SettingsError(list(dict.fromkeys(problems)))
        return settings

    def check(self) -> list[str]:
        """Mistakes that no single field can see, one line each. Subclasses add theirs to ``super()``'s."""
        problems = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr) and value.get_secret_value().startswith(UNREADABLE):
                problems.append(value.get_secret_value().removeprefix(UNREADABLE))
        return problems


def _words(message: str) -> str:
    return message.removeprefix("Value error, ")


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


class LogSettings(Settings):
    """How a process writes its log."""

    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class KafkaSettings(LogSettings):
    """Where Kafka is, how to speak to it, and the policy of the topics we create (days, counts)."""

    kafka_bootstrap_servers: str = "localhost:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_request_timeout_s: float = Field(20, ge=1, le=300)
    topic_prefix: str = "dingtalk."
    control_prefix: str = "ctl-dingtalk."
    topic_partitions: int = Field(6, ge=1, le=1000)
    topic_replication: int | None = Field(None, ge=1, le=100)
    topic_retention_days: int = Field(14, ge=1, le=3650)
    dlq_retention_days: int = Field(90, ge=1, le=3650)
    inbox_retention_days: int = Field(14, ge=1, le=3650)

    @field_validator("topic_prefix", "control_prefix")
    @classmethod
    def _topic_characters(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", value):
            raise ValueError(
                "must be 1 to 40 of the characters that Kafka allows in a topic: A-Z a-z 0-9 . _ -"
            )
        return value

    def check(self) -> list[str]:
        problems = super().check()
        for address in self.kafka_bootstrap_servers.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                problems.append(
                    f"KAFKA_BOOTSTRAP_SERVERS: {address.strip()!r} is no host:port; as host1:9092,host2:9092"
                )
        if self.kafka_security_protocol.startswith("SASL"):
            if not self.kafka_sasl_username:
                problems.append(
                    "KAFKA_SASL_USERNAME: needed, because KAFKA_SECURITY_PROTOCOL begins with SASL"
                )
            if not self.kafka_sasl_password:
                problems.append(
                    "KAFKA_SASL_PASSWORD (or KAFKA_SASL_PASSWORD_FILE): needed, because "
                    "KAFKA_SECURITY_PROTOCOL begins with SASL"
                )
        if self.kafka_ssl_cafile is not None and not self.kafka_ssl_cafile.is_file():
            problems.append(f"KAFKA_SSL_CAFILE: {self.kafka_ssl_cafile} is not a file")
        if self.control_prefix.startswith(self.topic_prefix):
            problems.append(
                "CONTROL_PREFIX: must not begin with TOPIC_PREFIX, else a pattern or right on the events "
                "would reach dead letters too"
            )
        return problems


class AppsSettings(Settings):
    """The app of the environment, and the file of others (``bridge/apps.py``)."""

    dingtalk_app_name: str = "default"
    dingtalk_apps_file: Path | None = None

    @field_validator("dingtalk_app_name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9-]{1,64}", value):
            raise ValueError("must be 1 to 64 of a-z, 0-9 and -")
        return value

    @property
    def live(self) -> bool:
        """Whether the public sample values are mistakes."""
        return False


class DingTalkApiSettings(AppsSettings):
    """Where DingTalk's Open API is, and the app that calls it: ``consumer_app``, of the environment
    (``default``) or of the apps file."""

    consumer_app: str = "default"
    dingtalk_app_key: str | None = None
    dingtalk_app_secret: SecretStr | None = None
    dingtalk_api_base: str = DINGTALK_API_BASE
    dingtalk_timezone: str = "Asia/Shanghai"
    api_monthly_budget: int = Field(4000, ge=0, le=1_000_000_000)

    @field_validator("dingtalk_api_base")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http(s) address, as https://oapi.dingtalk.com")
        return value.rstrip("/")

    @field_validator("dingtalk_timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("is no time zone of the IANA list; as Asia/Shanghai") from None
        return value

    @property
    def speaks_to_dingtalk(self) -> bool:
        """Whether the API base is DingTalk's own, so that no sample credential may be used."""
        host = (urlsplit(self.dingtalk_api_base).hostname or "").rstrip(".").lower()
        return host == "dingtalk.com" or host.endswith(".dingtalk.com")

    @property
    def live(self) -> bool:
        return self.speaks_to_dingtalk

    def check(self) -> list[str]:
        problems = super().check()
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
        try:
            self.api_credentials()
        except SettingsError:
            return False
        return True

    def api_credentials(self) -> tuple[str, str]:
        """``(app key, app secret)`` of ``consumer_app``. Raises ``SettingsError`` when either is missing."""
        own = self.consumer_app in ("default", self.dingtalk_app_name)
        if self.dingtalk_apps_file is not None and not (own and self.dingtalk_app_key):
            from bridge.apps import load_apps

            apps = load_apps(self)
            if self.consumer_app in apps:
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

    dingtalk_token: SecretStr = SecretStr("")
    dingtalk_aes_key: SecretStr = SecretStr("")
    dingtalk_owner_key: CommaList = []

    _owner_list = field_validator("dingtalk_owner_key", mode="before")(_split)

    reads_apps_file: ClassVar[bool] = True
    """False where the file's mistakes are somebody else's business."""

    def check(self) -> list[str]:
        problems = super().check()
        token, aes_key = self.dingtalk_token.get_secret_value(), self.dingtalk_aes_key.get_secret_value()
        if self.dingtalk_apps_file is not None:
            if self.reads_apps_file:
                from bridge.apps import problems_of

                problems += problems_of(self)
            if not (token or aes_key or self.dingtalk_owner_key):
                return problems  # no app of the environment's own
        if not token:
            problems.append(
                "DINGTALK_TOKEN (or DINGTALK_TOKEN_FILE): not set; it is the Token of the event subscription"
            )
        if not aes_key:
            problems.append(
                "DINGTALK_AES_KEY (or DINGTALK_AES_KEY_FILE): not set; it is the EncodingAESKey of the "
                "event subscription"
            )
        elif not aes_key.startswith(UNREADABLE) and not re.fullmatch(r"[A-Za-z0-9]{43}", aes_key):
            problems.append(
                f"DINGTALK_AES_KEY: has {len(aes_key)} characters or others than A-Z a-z 0-9; "
                "an EncodingAESKey is exactly 43 of them"
            )
        if not self.dingtalk_owner_key:
            problems.append(
                "DINGTALK_OWNER_KEY: not set; try the appKey (Client ID) first, then the corpId; "
                "several may stand here, comma separated"
            )
        return problems


class JournalSettings(LogSettings):
    """Where the journal is, and where the ingress that holds it can be asked."""

    data_dir: Path = Path("data")
    journal_dir: Path | None = None
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(8081, ge=0, le=65535)

    @property
    def journal_path(self) -> Path:
        """The journal's folder."""
        return self.journal_dir or self.data_dir / "journal"


class RecoverySettings(Settings):
    """When and how DingTalk's list of failed pushes is read."""

    recovery_every_minutes: int = Field(60, ge=0, le=7 * 24 * 60)
    recovery_after_outage_s: int = Field(300, ge=0, le=86_400)
    recovery_lease_s: int = Field(60, ge=1, le=3600)
    recovery_list: Literal["app", "isv"] = "app"


class IngressSettings(
    CallbackSettings, DingTalkApiSettings, KafkaSettings, JournalSettings, RecoverySettings
):
    """Everything ``dingbridge ingress`` needs. Durations carry their unit in the name; sizes are bytes."""

    journal_retention_hours: float = Field(24, ge=0, le=24 * 365)
    journal_allow_unsafe: bool = False
    dedupe_window_days: float = Field(7, ge=0.01, le=365)
    ingress_host: str = "0.0.0.0"  # noqa: S104 - DingTalk must reach it
    ingress_port: int = Field(8080, ge=0, le=65535)
    callback_path: str = "/callback"
    callback_max_age_s: float | None = Field(None, ge=0)
    callback_max_bytes: int = Field(4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    suite_check_reply: Literal["success", "random"] = "success"
    unknown_topics_max: int = Field(100, ge=0, le=10_000)
    trusted_proxies: CommaList = []
    ingress_workers: int = Field(1, ge=1, le=64)
    shutdown_timeout_s: float = Field(8, gt=0, lt=10)

    _proxy_list = field_validator("trusted_proxies", mode="before")(_split)

    @field_validator("callback_path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
            raise ValueError("must be a plain path without a slash at its end, as /callback")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        from ipaddress import ip_network

        for item in value:
            try:
                ip_network(item)
            except ValueError:
                raise ValueError(f"{item!r} is no address or network; as 10.0.0.0/8") from None
        return value

    @property
    def dedupe_window_s(self) -> float:
        return self.dedupe_window_days * 86400

    @property
    def max_age_s(self) -> float:
        """Oldest timestamp accepted, in s; 0 accepts any. Half the dedupe window unless set: a request
        accepted once is then known for as long as it could be accepted again."""
        return self.dedupe_window_s / 2 if self.callback_max_age_s is None else self.callback_max_age_s

    def check(self) -> list[str]:
        problems = super().check()
        if self.max_age_s > self.dedupe_window_s / 2:
            problems.append(
                f"CALLBACK_MAX_AGE_S: {self.max_age_s:g} is more than half of DEDUPE_WINDOW_DAYS "
                f"({self.dedupe_window_s / 2:g} s); a replayed request would be accepted twice"
            )
        if self.ingress_workers > 1 and self.ingress_port == 0:
            problems.append("INGRESS_PORT: must be a fixed one, since INGRESS_WORKERS share it")
        same_port = self.ingress_port == self.admin_port != 0
        if same_port and (self.ingress_host == self.admin_host or self.ingress_host in ("0.0.0.0", "::")):  # noqa: S104
            problems.append("ADMIN_PORT: is the same as INGRESS_PORT; the private listener needs its own")
        return problems


class PublisherSettings(IngressSettings):
    """The same for who needs no credentials: a broken apps file must not keep the publisher from Kafka."""

    reads_apps_file: ClassVar[bool] = False


class ConsumerSettings(KafkaSettings, DingTalkApiSettings):
    """Everything ``dingbridge consume <name>`` needs."""

    data_dir: Path = Path("data")
    database_url: SecretStr | None = None
    admin_host: str = "127.0.0.1"
    admin_port: int | None = Field(None, ge=0, le=65535)
    shutdown_timeout_s: float = Field(8, gt=0, le=300)

    def concerns_another_app(self, app: str) -> bool:
        """Whether ``app`` is another one of several than that of what a consumer does beside events."""
        own = self.dingtalk_app_name if self.consumer_app == "default" else self.consumer_app
        return self.dingtalk_apps_file is not None and app != own

    def database_url_for(self, consumer: str) -> str:
        """The database of ``consumer``: plain ``sqlite:///path`` or ``postgresql://…`` (holds a password)."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / (consumer + '.db')}"

    def check(self) -> list[str]:
        problems = super().check()
        if self.database_url is not None:
            url = self.database_url.get_secret_value()
            if not url.startswith((UNREADABLE, "sqlite:///", "postgresql://", "postgres://")):
                problems.append(
                    "DATABASE_URL: must begin with sqlite:/// or postgresql://; the driver is ours"
                )
        return problems
