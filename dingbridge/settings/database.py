"""Where a database of several processes is, for who needs one."""

from pydantic import SecretStr

from dingbridge.settings.base import UNREADABLE, Settings
from dingbridge.settings.database_url import in_memory, parse_database_url


class DatabaseSettings(Settings):
    """The consumers' database, in which the budget of API calls is kept too."""

    database_url: SecretStr | None = None
    """secret; `postgresql://…?sslmode=verify-full` or `sqlite:///<file>`; unset: `<consumer>.db` in DATA_DIR.
    Without `sslmode` it is `prefer`: TLS if the server offers it, its certificate unchecked. In PostgreSQL
    the budget of API calls is kept as well, for all processes that it is given to"""

    @property
    def shared_database(self) -> str | None:
        """The address of the PostgreSQL that processes share (holds a password); None for SQLite."""
        url = "" if self.database_url is None else self.database_url.get_secret_value()
        return url if url.startswith("postgres") else None

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
