"""The settings of the console."""

import re
from pathlib import Path
from typing import Final

from pydantic import Field, PrivateAttr, SecretStr

from dingbridge.console.access.settings import AccessSettings
from dingbridge.settings import CommaList, JournalSettings, KafkaSettings
from dingbridge.settings.base import UNREADABLE, ZoneName
from dingbridge.settings.database_url import parse_database_url

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ConsoleSettings(AccessSettings, KafkaSettings, JournalSettings):
    """Everything ``dingbridge console`` needs."""

    _part: str = PrivateAttr("console")

    console_listeners: CommaList = Field(default_factory=list)
    """private listeners, with commas, as `ingress=http://127.0.0.1:8081`; a name is `ingress` or the
    consumer's; unset: the ingress at ADMIN_HOST and ADMIN_PORT"""
    console_consumers: CommaList = Field(default_factory=list)
    """names of the consumers that run with this bridge, with commas; unset: all that are installed"""
    console_journals: CommaList = Field(default_factory=list)
    """journal folders, with commas, one for each ingress that runs here; unset: JOURNAL_DIR"""
    console_databases: SecretStr | None = None
    """secret; databases of consumers, with commas, as `approval=postgresql://…`; of others DATABASE_URL, or
    `<consumer>.db` in DATA_DIR"""
    database_url: SecretStr | None = None
    """secret; see Every consumer"""
    dingtalk_timezone: ZoneName = "Asia/Shanghai"
    """see DingTalk: the Open API"""
    ingress_port: int = Field(8080, ge=0, le=65535)
    """see The ingress"""
    callback_path: str = "/callback"
    """see The ingress"""
    shutdown_timeout_s: float = Field(8, gt=0, le=300)
    """s to stop in"""

    @property
    def users_file(self) -> Path:
        return self.data_dir / "console-users.toml"

    @property
    def audit_file(self) -> Path:
        return self.data_dir / "console-audit.jsonl"

    @property
    def index_file(self) -> Path:
        return self.data_dir / "console-index.db"

    @property
    def journals(self) -> list[Path]:
        """The folders in which journals are read."""
        return [Path(folder) for folder in self.console_journals] or [self.journal_path]

    @property
    def local_callback(self) -> str:
        """Where an ingress on this machine takes callbacks."""
        return f"http://127.0.0.1:{self.ingress_port}{self.callback_path}"

    @property
    def listeners(self) -> list[tuple[str, str]]:
        """``(name, address)`` of the private listeners."""
        pairs = [(name, url.rstrip("/")) for name, url in map(_pair, self.console_listeners)]
        return pairs or [("ingress", f"http://{self.admin_host}:{self.admin_port}")]

    def own_database_of(self, consumer: str) -> str | None:
        """A consumer's database by CONSOLE_DATABASES; None: not in it, its commands find it by themselves."""
        return self._databases.get(consumer)

    def database_url_of(self, consumer: str) -> str:
        """The address of a consumer's database (it may hold a password)."""
        if (own := self.own_database_of(consumer)) is not None:
            return own
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / (consumer + '.db')}"

    @property
    def _databases(self) -> dict[str, str]:
        text = "" if self.console_databases is None else self.console_databases.get_secret_value()
        return dict(_pair(part.strip()) for part in text.split(",") if part.strip())

    def check(self) -> list[str]:
        problems = super().check()
        for item in self.console_listeners:
            name, url = _pair(item)
            if not _NAME.fullmatch(name) or not re.fullmatch(r"https?://[^/?#@]+/?", url):
                which = name if _NAME.fullmatch(name) else "an entry without a name"
                problems.append(
                    f"CONSOLE_LISTENERS: {which}: give name=address, without a password, which pages would "
                    "show; as ingress=http://127.0.0.1:8081"
                )
        text = "" if self.console_databases is None else self.console_databases.get_secret_value()
        if not text.startswith(UNREADABLE):
            problems += [
                f"CONSOLE_DATABASES: of {name if _NAME.fullmatch(name) else 'an entry without a name'}: {why}"
                for name, url in self._databases.items()
                if (why := _mistake_of(url))
            ]
        return problems


def _pair(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name.strip(), value.strip()


def _mistake_of(url: str) -> str | None:
    try:
        parse_database_url(url)
    except ValueError as error:
        return str(error)
    return None
