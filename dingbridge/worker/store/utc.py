"""The column type for points in time."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.types import DateTime, String, TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware ``datetime`` in, aware UTC out. ``timestamptz`` in PostgreSQL, and in SQLite
    ISO 8601 text that sorts and that a person can read (``2026-01-31T08:00:00.123456Z``)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Any) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone; attach the zone that it is meant in")
        value = value.astimezone(UTC)
        if dialect.name == "sqlite":
            return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return value

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        if value is None:
            return None
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
        return parsed.astimezone(UTC)
