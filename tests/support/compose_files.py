"""The compose files as values: what ``docker compose config`` would make of them, without Docker.

Only what our files use: variables with ``-``, ``:-`` and ``:?``; a later file laid over an earlier one;
``env_file: .env``. Profiles are left to the tests that ask for them.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TRIAL = ("docker-compose.yml",)

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<how>:-|-|:\?)(?P<rest>(?:[^{}]|\$\{\w+\})*))?\}")


class NotSet(Exception):
    """A variable that must be set is not; the words are the file's."""


def example_env(**values: str) -> dict[str, str]:
    """What a copied ``.env.example`` sets, with ``values`` in the places that it leaves empty."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    assert {name for name, value in given.items() if not value} == values.keys()
    return given | values


def rendered(files: tuple[str, ...] = TRIAL, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The services of ``files``, by name, with ``environment`` as each container gets it. ``env`` is what
    ``.env`` sets. Raises ``NotSet``."""
    given = dict(env or {})
    services: dict[str, Any] = {}
    for file in files:
        parsed = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
        for name, service in _filled_in(parsed["services"], given).items():
            services[name] = _over(services.get(name, {}), service)
    for service in services.values():
        if service.get("env_file") == ".env":
            service["environment"] = given | service.get("environment", {})
    return services


def _filled_in(value: Any, given: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled_in(inner, given) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled_in(inner, given) for inner in value]
    return _VARIABLE.sub(lambda found: _variable(found, given), value) if isinstance(value, str) else value


def _variable(found: re.Match[str], given: Mapping[str, str]) -> str:
    value, how, rest = given.get(found["name"]), found["how"], found["rest"] or ""
    if value or (value == "" and how in (None, "-")):
        return value
    if how == ":?":
        raise NotSet(f"{found['name']}: {rest}")
    return str(_filled_in(rest, given))


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Compose's rule: maps are joined, lists of ports and volumes too, commands replaced."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[name] = _over(old, value)
        elif isinstance(old, list) and isinstance(value, list) and name not in ("command", "test"):
            merged[name] = [*old, *(item for item in value if item not in old)]
        else:
            merged[name] = value
    return merged
