"""Settings: read from the environment, checked together, before anything listens.

Every setting is an environment variable (the upper-case name of a field); a secret may stand in a file
instead, named by ``<NAME>_FILE``. Each process loads the one class that names what it needs, and imports it
from here. ``load`` reports *all* mistakes at once (``dingbridge/settings/base.py``). This module knows what a
setting means, not what is done with it; DingTalk's own settings are in ``dingbridge/settings/dingtalk.py``.
"""

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from dingbridge.apps.model import SAMPLE_CREDENTIALS
from dingbridge.settings.apps import AppsSettings
from dingbridge.settings.base import UNREADABLE, CommaList, NetworkList, Settings
from dingbridge.settings.database_url import in_memory, parse_database_url
from dingbridge.settings.dingtalk import CallbackSettings, DingTalkApiSettings
from dingbridge.settings.tls import trusting

__all__ = [
    "SAMPLE_CREDENTIALS",
    "AppsSettings",
    "CallbackSettings",
    "CommaList",
    "ConsumerSettings",
    "DingTalkApiSettings",
    "IngressSettings",
    "JournalSettings",
    "KafkaSettings",
    "LogSettings",
    "NetworkList",
    "PublisherSettings",
    "RecoverySettings",
    "Settings",
]


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
        if self.kafka_ssl_cafile is not None:
            try:
                trusting(self.kafka_ssl_cafile)
            except ValueError as error:
                problems.append(f"KAFKA_SSL_CAFILE: {error}")
        if self.control_prefix.startswith(self.topic_prefix):
            problems.append(
                "CONTROL_PREFIX: must not begin with TOPIC_PREFIX, else a pattern or right on the events "
                "would reach dead letters too"
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
    trusted_proxies: NetworkList = Field(default_factory=list)
    ingress_workers: int = Field(1, ge=1, le=64)
    shutdown_timeout_s: float = Field(8, gt=0, lt=10)

    @field_validator("callback_path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
            raise ValueError("must be a plain path without a slash at its end, as /callback")
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
            problems += _of_database(self.database_url.get_secret_value())
        return problems


def _of_database(url: str) -> list[str]:
    if url.startswith(UNREADABLE):
        return []  # said already
    try:
        address = parse_database_url(url)
    except ValueError as error:
        return [f"DATABASE_URL: {error}"]
    if in_memory(address):
        return [
            "DATABASE_URL: names no file, so it is a database in memory, and a restart would forget tables "
            "and inbox; as sqlite:////data/approval.db"
        ]
    return []
