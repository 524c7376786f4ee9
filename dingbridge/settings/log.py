"""How a process writes its log."""

from typing import Literal

from pydantic import field_validator

from dingbridge.settings.base import Settings


class LogSettings(Settings):
    """How a process writes its log."""

    log_format: Literal["auto", "console", "json"] = "auto"
    """`console`, `json`; `auto`: JSON unless on a terminal"""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """`DEBUG`, `INFO`, `WARNING`, `ERROR`"""

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value
