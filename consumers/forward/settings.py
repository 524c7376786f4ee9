"""The file that declares systems (``FORWARD_FILE``), checked as a whole before anything starts.

Secrets are not in it: it names environment variables, and each process reads those of its own system only.
What a declaration means is not here.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dingbridge.consumers.forward.body import BodyForm
from dingbridge.consumers.forward.signature import PREFIX, key_of
from dingbridge.errors import SettingsError
from dingbridge.events.catalogue import catalogue, legal, misspelt
from dingbridge.settings import NetworkList, Settings
from dingbridge.settings.tls import trusting
from dingbridge.ssrf import AddressGuard, Network
from dingbridge.worker.delivery import REPLAY_HEADER

NAME_RE = re.compile(r"[a-z0-9-]{1,60}")
VARIABLE_RE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HEADER_RE = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

OURS = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
    | {"webhook-id", "webhook-signature", "webhook-timestamp", REPLAY_HEADER}
)
"""Headers that we set ourselves, or that belong to the connection."""

CHANGES = "changes"
"""The control topic of what people changed in DingTalk."""

CHANGED: Mapping[str, str] = {
    "user_add_org": "user",
    "user_modify_org": "user",
    "user_leave_org": "user",
    "org_dept_create": "department",
    "org_dept_modify": "department",
    "org_dept_remove": "department",
    "bpms_instance_change": "approval",
}
"""The kind of change that stands in that topic for an EventType."""

_OF_CONTACTS = frozenset(event_type for event_type, kind in CHANGED.items() if kind != "approval")

SECRET_HEADERS = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)


class ForwardSettings(Settings):
    """Where the systems are declared, and which networks inside they may stand in."""

    forward_file: Path | None = None
    """the TOML file that declares the systems"""
    forward_allow_networks: NetworkList = Field(default_factory=list)
    """networks inside that systems may stand in, comma separated"""

    @property
    def allowed(self) -> list[Network]:
        return [ip_network(item) for item in self.forward_allow_networks]


class System(BaseModel):
    """One system, as ``[systems.<name>]`` declares it. Times in s; ``rate`` in requests per s."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: str
    types: list[str] = Field(min_length=1)
    new_types: list[str] = []
    process_codes: list[str] = []
    skip_own_changes: bool = False
    fields: list[str] = []
    body: BodyForm = "cloudevents"
    secrets: list[str] = []
    unsigned: bool = False
    headers: dict[str, str] = {}
    headers_from: dict[str, str] = {}
    concurrency: int = Field(8, ge=1, le=256)
    rate: float = Field(50, ge=0.01, le=10_000)
    timeout_s: float = Field(15, ge=0.1, le=300)
    ca_file: str | None = None

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or any(not c.isprintable() or c == " " for c in value):
            raise ValueError("must be an http(s) address, as https://a.example.com/hooks/dingtalk")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a user or password; use headers_from for a secret header")
        return value

    @field_validator("types")
    @classmethod
    def _types(cls, value: list[str]) -> list[str]:
        for pattern in value:
            if _is_pattern(pattern):
                if not any(fnmatchcase(name, pattern) for name in catalogue):
                    raise ValueError(f"{pattern!r} matches no known EventType; a new one stands in new_types")
            elif (words := misspelt(pattern)) is not None:
                raise ValueError(f"{words}; one that is new at DingTalk stands in new_types")
        return value

    @field_validator("new_types")
    @classmethod
    def _new_types(cls, value: list[str]) -> list[str]:
        for name in value:
            if not legal(name):
                raise ValueError(f"{name!r} is no EventType")
        return value

    @field_validator("secrets", "headers_from")
    @classmethod
    def _variables(cls, value: Any) -> Any:
        for name in value.values() if isinstance(value, dict) else value:
            if name.startswith(PREFIX) or not VARIABLE_RE.fullmatch(name):
                raise ValueError("holds names of environment variables, as SYSTEM_A_SECRET; no secret itself")
        return value

    @field_validator("headers", "headers_from")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not HEADER_RE.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
            if name.lower() in OURS:
                raise ValueError(f"{name} is set by the forwarder itself")
        return value

    @field_validator("headers")
    @classmethod
    def _plain(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if SECRET_HEADERS.search(name):
                raise ValueError(f"{name} looks like a secret; name a variable for it, in headers_from")
            if not _sendable(text):
                raise ValueError(f"{name} holds characters that no header may hold")
        return value

    @field_validator("ca_file")
    @classmethod
    def _file(cls, value: str | None) -> str | None:
        if value is not None:
            trusting(value)
        return value

    @property
    def wanted(self) -> frozenset[str]:
        """The EventTypes of ``types``, wildcards by the catalogue, and of ``new_types``."""
        named = {*self.new_types} | {pattern for pattern in self.types if not _is_pattern(pattern)}
        patterns = [pattern for pattern in self.types if _is_pattern(pattern)]
        return frozenset(named | {n for n in catalogue for p in patterns if fnmatchcase(n, p)})

    @property
    def topics(self) -> tuple[str, ...]:
        """The EventTypes that are read, sorted: those of contacts only as long as own changes are not
        skipped."""
        return tuple(sorted(t for t in self.wanted if not (self.skip_own_changes and t in _OF_CONTACTS)))

    @property
    def changes(self) -> frozenset[str]:
        """The kinds of changes that it gets."""
        if not self.skip_own_changes:
            return frozenset()
        return frozenset(CHANGED[event_type] for event_type in self.wanted & CHANGED.keys())

    @property
    def origin(self) -> str:
        """Scheme and host, for people; in the rest of the URL may stand a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the environment gave for one system. Never printed."""

    keys: tuple[bytes, ...]
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Credentials({len(self.keys)} keys, {len(self.headers)} headers)"


def load_systems(settings: ForwardSettings) -> dict[str, System]:
    """All systems of ``FORWARD_FILE`` by name. Raises ``SettingsError`` with every mistake in it."""
    path = settings.forward_file
    if path is None:
        raise SettingsError(["FORWARD_FILE: not set; it names the TOML file that declares the systems"])
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError([f"FORWARD_FILE: {path} cannot be read ({reason})"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"FORWARD_FILE: {path} is no TOML: {error}"]) from None
    declared = document.pop("systems", {})
    problems = [f"{path}: {key}: is no setting; systems stand in [systems.<name>]" for key in document]
    systems: dict[str, System] = {}
    if not isinstance(declared, dict) or not declared:
        problems.append(f"{path}: declares no system; one begins with [systems.<name>]")
        declared = {}
    for name, table in declared.items():
        place = f"{path}: systems.{name}"
        if not NAME_RE.fullmatch(name):
            problems.append(f"{place}: the name of a system is 1 to 60 of a-z, 0-9 and -")
        if not isinstance(table, dict):
            problems.append(f"{place}: is no table; it begins with [systems.{name}]")
            continue
        try:
            systems[name] = System(**table)
        except ValidationError as error:
            problems += [_words(place, item) for item in error.errors(include_url=False, include_input=False)]
            continue
        problems += [f"{place}.{words}" for words in _contradictions(systems[name], settings)]
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))
    return systems


def credentials_of(name: str, system: System) -> Credentials:
    """Keys and secret headers of a system from the environment, each variable also as ``<NAME>_FILE``.

    Raises ``SettingsError`` with every mistake, without any value.
    """
    problems: list[str] = []
    keys: list[bytes] = []
    headers: dict[str, str] = {}
    for variable in system.secrets:
        value = _variable(variable, name, problems)
        if value is not None:
            try:
                keys.append(key_of(value.strip()))
            except ValueError as error:
                problems.append(f"{variable} (secret of system {name}): {error}")
    for header, variable in system.headers_from.items():
        value = _variable(variable, name, problems)
        if value is not None and not _sendable(value):
            problems.append(f"{variable} (header {header} of system {name}): holds what no header may hold")
        elif value is not None:
            headers[header] = value
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))
    return Credentials(tuple(keys), headers)


def _variable(variable: str, system: str, problems: list[str]) -> str | None:
    """The value of an environment variable, or of the file that ``<variable>_FILE`` names."""
    path = os.environ.get(f"{variable}_FILE")
    value = os.environ.get(variable)
    if not value and path:
        try:
            value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            problems.append(f"{variable}_FILE: names a file that cannot be read ({reason})")
            return None
    if not value:
        problems.append(f"{variable} (or {variable}_FILE): not set; system {system} needs it")
        return None
    return value


def _contradictions(system: System, settings: ForwardSettings) -> list[str]:
    problems = []
    if not system.secrets and not system.unsigned:
        problems.append("secrets: needed, so that its receiver can verify our requests; or unsigned = true")
    if system.skip_own_changes and system.body != "cloudevents":
        problems.append('skip_own_changes: needs body = "cloudevents"; DingTalk has no form for a change')
    host = urlsplit(system.url).hostname or ""
    try:
        inside = AddressGuard(settings.allowed).refuses(host)
    except ValueError:
        inside = False  # a name: resolved when it is used
    if inside:
        problems.append(
            f"url: {host} points inside; if that is meant, allow its network in FORWARD_ALLOW_NETWORKS, as "
            f"{ip_network(ip_address(host))}"
        )
    return problems


def _words(place: str, item: Any) -> str:
    """One mistake that pydantic found, in our words; never the value."""
    where = ".".join([place, *(str(part) for part in item["loc"] if isinstance(part, str))])
    if item["type"] == "extra_forbidden":
        return f"{where}: is no setting; they are {', '.join(System.model_fields)}"
    if item["type"] == "missing":
        return f"{where}: needed"
    message: str = item["msg"]
    return f"{where}: {message.removeprefix('Value error, ')}"


def _is_pattern(text: str) -> bool:
    return any(c in text for c in "*?[")


def _sendable(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()
