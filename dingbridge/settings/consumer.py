"""The settings of a worker and its consumer."""

from pathlib import Path

from pydantic import Field

from dingbridge.settings.base import CommaList
from dingbridge.settings.dingtalk import DingTalkApiSettings
from dingbridge.settings.kafka import KafkaSettings
from dingbridge.settings.tracing import TracingSettings


class ConsumerSettings(KafkaSettings, DingTalkApiSettings, TracingSettings):
    """Everything ``dingbridge consume <name>`` needs."""

    data_dir: Path = Path("data")
    """folder of everything that is kept"""
    admin_host: str = "127.0.0.1"
    """where the private listener binds"""
    admin_port: int | None = Field(None, ge=0, le=65535)
    """ingress: 8081; a consumer has none unless this is set"""
    admin_names: CommaList = Field(default_factory=list)
    """names with a dot, with commas, by which private listeners may be asked; `.svc`: all that end so"""
    shutdown_timeout_s: float = Field(8, gt=0, le=300)
    """s to stop in; the ingress: below 10"""

    def app_of(self, app: str | None) -> str:
        """The name of the app that makes the calls for what names ``app``: with one app always that one."""
        own = self.dingtalk_app_name if self.consumer_app == "default" else self.consumer_app
        return app if app and self.dingtalk_apps_file is not None else own

    def concerns_another_app(self, app: str) -> bool:
        """Whether ``app`` is another one of several than that of what a consumer does beside events."""
        own = self.dingtalk_app_name if self.consumer_app == "default" else self.consumer_app
        return self.dingtalk_apps_file is not None and app != own

    def database_url_for(self, consumer: str) -> str:
        """The database of ``consumer``: plain ``sqlite:///path`` or ``postgresql://…`` (holds a password)."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / (consumer + '.db')}"
