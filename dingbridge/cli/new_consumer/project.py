"""Where the texts of a new consumer go: into a clone of dingbridge, or into a repository of its own."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from dingbridge.cli.new_consumer import templates
from dingbridge.cli.new_consumer.names import Names, ScaffoldError
from dingbridge.cli.new_consumer.samples import Samples

SECTION = '[project.entry-points."dingbridge.consumers"]'
WIDTH = 110
"""Characters in a line of Python, as this project's ruff has it."""

_BEFORE_VOLUMES = re.compile(r"\n(?=\nvolumes:\n)")
_BEFORE_SIMULATOR = re.compile(r"\n(?=\n  simulator:\n)")


@dataclass(slots=True)
class Plan:
    """``new`` files and their texts; ``changed`` files and their texts before and after; ``by_hand``: what is
    left to the author, in words."""

    root: Path
    new: dict[Path, str] = field(default_factory=dict)
    changed: dict[Path, tuple[str, str]] = field(default_factory=dict)
    by_hand: list[str] = field(default_factory=list)


def clone_at(folder: Path) -> Path:
    """The clone of dingbridge that ``folder`` is in. Raises ``ScaffoldError`` if it is in none."""
    for root in (folder, *folder.parents):
        project = root / "pyproject.toml"
        if (root / "consumers" / "runtime").is_dir() and project.is_file():
            return root
    raise ScaffoldError(
        f"{folder} is in no clone of dingbridge: go there first, or say --own-repository DIR for a consumer "
        "with a repository of its own"
    )


def in_clone(root: Path, names: Names, samples: dict[str, Samples]) -> Plan:
    """Raises ``ScaffoldError`` for a project file without a place for the entry point."""
    plan = Plan(root)
    package = f"consumers.{names.module}"
    code, tests = root / "consumers" / names.module, root / "tests" / "unit" / names.module
    _add_package(plan, code, names, package)
    plan.new[tests / "__init__.py"] = ""
    _add_test(plan, tests, names, package, samples)
    _announce(plan, root / "pyproject.toml", f'{names.name} = "{package}:{names.class_name}"')
    service = templates.SERVICE.substitute(name=names.name)
    _add_service(plan, root / "docker-compose.yml", _BEFORE_VOLUMES, service)
    service = templates.APP_SERVICE.substitute(name=names.name)
    _add_service(plan, root / "docker-compose.app.yml", _BEFORE_SIMULATOR, service)
    return plan


def own_repository(root: Path, names: Names, samples: dict[str, Samples]) -> Plan:
    """Raises ``ScaffoldError`` if ``root`` is no new or empty folder (``git init`` may have been there)."""
    if root.exists() and not (root.is_dir() and not any(p for p in root.iterdir() if p.name != ".git")):
        raise ScaffoldError(f"{root} is not empty, and nothing is overwritten; name a new folder")
    plan = Plan(root)
    package = f"{names.module}_consumer"
    _add_package(plan, root / package, names, package)
    _add_test(plan, root / "tests", names, package, samples)
    values = _values(names, package)
    plan.new[root / "pyproject.toml"] = templates.OWN_PYPROJECT.substitute(values)
    plan.new[root / "README.md"] = templates.OWN_README.substitute(values)
    plan.new[root / ".gitignore"] = templates.OWN_GITIGNORE
    return plan


def _values(names: Names, package: str) -> dict[str, str]:
    return {
        "name": names.name,
        "module": names.module,
        "class_name": names.class_name,
        "settings_class": f"{names.class_name}Settings",
        "setting": names.setting,
        "package": package,
        "topics": _tuple(names.events),
        "events_text": ", ".join(f"`{event_type}`" for event_type in names.events),
    }


def _tuple(events: tuple[str, ...]) -> str:
    """``events`` as ruff would write them in the class."""
    listed = [f'"{event_type}"' for event_type in events]
    line = f"({', '.join(listed)}{',' if len(listed) == 1 else ''})"
    if len(f"    topics = {line}") <= WIDTH:
        return line
    return "(\n" + "".join(f"        {text},\n" for text in listed) + "    )"


def _imports(package: str, standard: list[str], others: list[str]) -> str:
    """Import lines in ruff's order. In a repository of its own, dingbridge is somebody else's package."""
    ours = ("consumers", "bridge") if package.startswith("consumers.") else (package,)

    def first_party(line: str) -> bool:
        return line.split()[1].split(".")[0] in ours

    parts = [
        standard,
        [line for line in others if not first_party(line)],
        [line for line in others if first_party(line)],
    ]
    return "\n\n".join("\n".join(sorted(p, key=lambda line: line.split()[1])) for p in parts if p)


def _add_package(plan: Plan, folder: Path, names: Names, package: str) -> None:
    values = _values(names, package)
    imports = _imports(
        package,
        ["from typing import Any"],
        [
            "from sqlalchemy import Column, MetaData, Table, Text, select",
            f"from {package}.settings import {values['settings_class']}",
            "from dingbridge import Consumer, Context, Event, Reader, Transaction, UtcDateTime",
            "from dingbridge import Table as Shown",
        ],
    )
    plan.new[folder / "__init__.py"] = templates.INIT.substitute(values)
    plan.new[folder / "consumer.py"] = templates.CONSUMER.substitute(values, imports=imports)
    own = ["from pydantic import Field", "from dingbridge.settings import Settings"]
    plan.new[folder / "settings.py"] = templates.SETTINGS.substitute(
        values, imports=_imports(package, [], own)
    )


def _add_test(plan: Plan, folder: Path, names: Names, package: str, samples: dict[str, Samples]) -> None:
    values = _values(names, package)
    imports = _imports(
        package,
        ["from pathlib import Path"],
        [
            "from sqlalchemy import select",
            "from dingbridge.testing import recorded",
            f"from {package} import {names.class_name}",
            f"from {package}.consumer import events",
        ],
    )
    plan.new[folder / f"test_{names.module}.py"] = templates.TEST.substitute(values, imports=imports)
    for event_type, found in samples.items():
        text = orjson.dumps(found.callbacks, option=orjson.OPT_INDENT_2).decode()
        plan.new[folder / "events" / f"{event_type}.json"] = text + "\n"


def _announce(plan: Plan, path: Path, line: str) -> None:
    """Add the entry point ``line`` to a ``pyproject.toml``."""
    before = path.read_text(encoding="utf-8")
    head, found, rest = before.partition(f"{SECTION}\n")
    if not found:
        raise ScaffoldError(f"{path} has no section {SECTION}, in which consumers are announced; add it")
    entries, gap, tail = rest.partition("\n\n")
    plan.changed[path] = (before, f"{head}{found}{entries.rstrip()}\n{line}{gap or chr(10)}{tail}")


def _add_service(plan: Plan, path: Path, place: re.Pattern[str], service: str) -> None:
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if len(place.findall(before)) == 1:
        plan.changed[path] = (before, place.sub(lambda _: f"\n{service}", before))
    else:  # somebody has made it their own
        plan.by_hand.append(f"add to the services in {path.name}:\n{service}")
