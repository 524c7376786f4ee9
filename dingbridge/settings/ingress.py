"""The settings of the ingress, and of commands that look into the journal."""

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator

from dingbridge.settings.base import CommaList, NetworkList, Settings
from dingbridge.settings.dingtalk import CallbackSettings, DingTalkApiSettings
from dingbridge.settings.kafka import KafkaSettings
from dingbridge.settings.log import LogSettings


class JournalSettings(LogSettings):
    """Where the journal is, and where the ingress that holds it can be asked."""

    data_dir: Path = Path("data")
    """folder of everything that is kept"""
    journal_dir: Path | None = None
    """folder of the journal; unset: `journal` in DATA_DIR"""
    admin_host: str = "127.0.0.1"
    """where the private listener binds"""
    admin_port: int = Field(8081, ge=0, le=65535)
    """ingress: 8081; a consumer has none unless this is set"""
    admin_names: CommaList = Field(default_factory=list)
    """names with a dot, with commas, by which private listeners may be asked; `.svc`: all that end so"""

    @property
    def journal_path(self) -> Path:
        """The journal's folder."""
        return self.journal_dir or self.data_dir / "journal"


class RecoverySettings(Settings):
    """When and how DingTalk's list of failed pushes is read."""

    recovery_every_minutes: int = Field(60, ge=0, le=7 * 24 * 60)
    """minutes between two readings of DingTalk's list of failed pushes; 0: by hand only"""
    recovery_after_outage_s: int = Field(300, ge=0, le=86_400)
    """s from a start, or from when the journal takes writes again, to such a reading"""


class StreamSettings(Settings):
    """The connections of apps in Stream mode."""

    stream_connections: int = Field(2, ge=1, le=10)
    """connections of each app in Stream mode; DingTalk picks one for each event"""
    stream_watchdog_s: float = Field(180, ge=0, le=86_400)
    """s without any frame after which such a connection is replaced; 0: never"""
    stream_gap_s: float = Field(30, ge=1, le=86_400)
    """s without any such connection after which the consumers are asked to resync"""


class IngressSettings(
    CallbackSettings,
    DingTalkApiSettings,
    KafkaSettings,
    JournalSettings,
    RecoverySettings,
    StreamSettings,
):
    """Everything ``dingbridge ingress`` needs. Durations carry their unit in the name; sizes are bytes."""

    _part: str = PrivateAttr("ingress")

    journal_retention_hours: float = Field(24, ge=0, le=24 * 365)
    """hours a published callback stays, from its receipt"""
    journal_allow_unsafe: bool = False
    """allow memory, container layers and network file systems, for a trial"""
    dedupe_window_days: float = Field(7, ge=0.01, le=365)
    """days a repeated push is recognised"""
    ingress_host: str = "0.0.0.0"  # noqa: S104 - DingTalk must reach it
    """where the public listener binds"""
    ingress_port: int = Field(8080, ge=0, le=65535)
    """port of the public listener; 0: any that is free"""
    callback_path: str = "/callback"
    """path of the callbacks; each app of the apps file has one of its own below"""
    callback_max_age_s: float | None = Field(None, ge=0)
    """s a signed timestamp may differ from our clock; unset: half of DEDUPE_WINDOW_DAYS, its most; 0:
    any"""
    callback_max_bytes: int = Field(1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """bytes of a request's body"""
    suite_check_reply: Literal["success", "random"] = "success"
    """what answers the suite's URL checks: `success` or `random`"""
    unknown_topics_max: int = Field(100, ge=0, le=10_000)
    """topics for EventTypes that this version does not know; more go to `unclassified`"""
    trusted_proxies: NetworkList = Field(default_factory=list)
    """addresses or networks, with commas, whose `X-Forwarded-For` is believed, for the log; by the console
    also `X-Forwarded-Proto` and the headers of CONSOLE_PROXY_*"""
    ingress_reuse_port: bool = False
    """whether several ingresses share INGRESS_PORT, each with its own DATA_DIR and ADMIN_PORT"""
    shutdown_timeout_s: float = Field(8, gt=0, lt=10)
    """s to stop in; the ingress: below 10"""

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
        if self.ingress_reuse_port and self.ingress_port == 0:
            problems.append("INGRESS_PORT: must be a fixed one, since INGRESS_REUSE_PORT shares it")
        same_port = self.ingress_port == self.admin_port != 0
        if same_port and (self.ingress_host == self.admin_host or self.ingress_host in ("0.0.0.0", "::")):  # noqa: S104
            problems.append("ADMIN_PORT: is the same as INGRESS_PORT; the private listener needs its own")
        return problems


class PublisherSettings(IngressSettings):
    """The same for who needs no credentials: a broken apps file must not keep the publisher from Kafka."""

    reads_apps_file: ClassVar[bool] = False
