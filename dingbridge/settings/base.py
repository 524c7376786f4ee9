"""How settings load: from the environment, secrets from files too, and every mistake at once.

The base of all settings classes and what their fields are made of. What any setting means is not known here.
"""

import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from dingbridge.errors import SettingsError

UNREADABLE = "\0"
"""Begins the value of a secret whose file could not be read: ``check`` reports it with all the others."""


def _parts(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _networks(value: list[str]) -> list[str]:
    for item in value:
        try:
            ip_network(item)
        except ValueError:
            raise ValueError(f"{item!r} is no address or network; as 10.0.0.0/8") from None
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("is no time zone of the IANA list; as Asia/Shanghai") from None
    return value


CommaList = Annotated[list[str], NoDecode, BeforeValidator(_parts)]
"""The type of a field whose variable holds a list with commas."""

IntegerList = Annotated[list[int], NoDecode, BeforeValidator(_parts)]
"""The same for integers."""

NetworkList = Annotated[CommaList, AfterValidator(_networks)]
"""The same for addresses or networks, as ``ipaddress.ip_network`` reads them."""

ZoneName = Annotated[str, AfterValidator(_zone)]
"""A time zone by its name in the IANA list, as ``zoneinfo`` knows it."""


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

    model_config = SettingsConfigDict(
        extra="ignore",
        env_ignore_empty=True,
        populate_by_name=True,
        defer_build=True,  # each process loads one class; pydantic would build all that it derives from, too
    )

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
        that contradict each other, checked over whatever did parse. ``_env_prefix`` among the overrides
        begins the name of every variable.
        """
        prefix, problems = overrides.get("_env_prefix", ""), list[str]()
        try:
            settings = cls(**overrides)
        except ValidationError as error:
            bad: dict[str, Any] = {}
            for item in error.errors(include_url=False, include_input=False):
                name = str(item["loc"][0]) if item["loc"] else ""
                problems.append(f"{prefix}{name.upper()}: {_words(item['msg'])}")
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


def mistakes_of(*loads: Callable[[], object]) -> list[str]:
    """The mistakes of all settings that ``loads`` load, each once."""
    problems: list[str] = []
    for load in loads:
        try:
            load()
        except SettingsError as error:
            problems += error.problems
    return list(dict.fromkeys(problems))


def _words(message: str) -> str:
    """pydantic's message as an operator reads it: what the value must be."""
    words = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    return words.replace("Input should be", "must be", 1)
