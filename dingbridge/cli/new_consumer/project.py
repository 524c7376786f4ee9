"""Where the texts of a new consumer go: into a clone of dingbridge, or into a repository of its own.

Into a project that is there already: ``existing.py``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import orjson

from dingbridge.cli.new_consumer.names import Names, ScaffoldError
from dingbridge.cli.new_consumer.source import Source
from dingbridge.events.catalogue import class_name

SECTION = '[project.entry-points."dingbridge.consumers"]'
WIDTH = 110
"""Characters in a line of Python, as this project's ruff has it."""

Examples = Mapping[str, Sequence[Mapping[str, Any]]]
"""Recorded callbacks by EventType."""

_BEFORE_VOLUMES = re.compile(r"\n(?=\nvolumes:\n)")
_BEFORE_SIMULATOR = re.compile(r"\n(?=\n  simulator:\n)")
_AFTER_LAST_TARGET = re.compile(r"(?<=:8082)\n\Z")


@dataclass(slots=True)
class Plan:
    """``new`` and ``changed`` files and their texts; ``by_hand``: what is left to the author, in words;
    ``tool``: ``poetry`` or ``uv``, if the project is kept by one."""

    root: Path
    new: dict[Path, str] = field(default_factory=dict)
    changed: dict[Path, str] = field(default_factory=dict)
    by_hand: list[str] = field(default_factory=list)
    tool: str = ""

    def write(self) -> None:
        """Write the new files and change the others. Raises ``ScaffoldError`` when a new file exists already,
        before anything is written; or when one cannot be written."""
        if there := [path for path in self.new if path.exists()]:
            listed = ", ".join(str(path) for path in there)
            raise ScaffoldError(f"{listed} exists already, and nothing is overwritten; take another name")
        try:
            for path, text in {**self.new, **self.changed}.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise ScaffoldError(
                f"{error.filename} cannot be written ({error.strerror}); correct that, take away what was "
                f"written until then in {self.root} (`git status` shows it), and run this again"
            ) from error


def clone_at(folder: Path) -> Path:
    """The clone of dingbridge that ``folder`` is in. Raises ``ScaffoldError`` if it is in none."""
    for root in (folder, *folder.parents):
        if (root / "consumers").is_dir() and (root / "dingbridge" / "worker").is_dir():
            return root
    raise ScaffoldError(
        f"{folder} is in no clone of dingbridge: go there first, or say --own-repository DIR for a consumer "
        "with a repository of its own"
    )


def in_clone(root: Path, names: Names, examples: Examples) -> Plan:
    """Raises ``ScaffoldError`` for a project file without a place for the entry point."""
    plan = Plan(root)
    package = f"dingbridge.consumers.{names.module}"
    code, tests = root / "consumers" / names.module, root / "tests" / "unit" / names.module
    add_package(plan, code, names, package)
    plan.new[tests / "__init__.py"] = ""
    add_test(plan, tests, names, package, examples)
    _announce(plan, root / "pyproject.toml", f'{names.name} = "{package}:{names.class_name}"')
    for file, place, what in (
        ("docker-compose.yml", _BEFORE_VOLUMES, "service.yml"),
        ("docker-compose.app.yml", _BEFORE_SIMULATOR, "app-service.yml"),
        ("deploy/prometheus/compose.yml", _AFTER_LAST_TARGET, "target.yml"),
    ):
        _insert(plan, root / file, place, text_of(f"clone/{what}", {"name": names.name}))
    return plan


def own_repository(root: Path, names: Names, examples: Examples, source: Source) -> Plan:
    """Raises ``ScaffoldError`` if ``root`` is no new or empty folder (``git init`` may have been there)."""
    if root.exists() and not (root.is_dir() and not any(p for p in root.iterdir() if p.name != ".git")):
        raise ScaffoldError(
            f"{root} is not empty, and has no pyproject.toml by which a project could be entered; name a new "
            "folder, or the project's"
        )
    plan = Plan(root)
    package = f"{names.module}_consumer"
    add_package(plan, root / package, names, package)
    add_test(plan, root / "tests", names, package, examples)
    values = values_of(names, package) | _of_source(source)
    for name in ("pyproject.toml", "README.md", "Dockerfile", "docker-compose.yml"):
        plan.new[root / name] = text_of(f"own/{name}", values)
    for name in ("gitignore", "dockerignore"):
        plan.new[root / f".{name}"] = text_of(f"own/{name}", values)
    return plan


def _of_source(source: Source) -> dict[str, str]:
    """What the texts say of where dingbridge comes from; a path of this machine is not in them."""
    if source.index:
        return {
            "dependencies": f'["dingbridge>={version("dingbridge")}"]',
            "pip": source.pip,
            "where": "dingbridge comes from your own index. In the public one its name may be anybody's:\n"
            "leave `--index-url` in each command, and add no `--extra-index-url`.",
        }
    named = source.place.startswith("dingbridge @")
    return {
        "dependencies": "[]  # dingbridge comes from a file or address, never by its name: README.md",
        "pip": source.pip if named else "DINGBRIDGE",
        "where": "dingbridge is never installed by its name: in an index that may be anybody's. "
        + (
            ""
            if named
            else "`DINGBRIDGE`\nstands for its wheel file, which `make dist` builds in a clone, or a clone."
        ),
    }


def text_of(name: str, values: Mapping[str, str]) -> str:
    """One of the files under ``templates``, with its ``$names`` filled in."""
    template = files("dingbridge.cli.new_consumer").joinpath(f"templates/{name}.tmpl")
    return Template(template.read_text(encoding="utf-8")).substitute(values)


def values_of(names: Names, package: str) -> dict[str, str]:
    """What the texts name, but for where dingbridge comes from."""
    return {
        "name": names.name,
        "version": version("dingbridge"),
        "module": names.module,
        "class_name": names.class_name,
        "settings_class": f"{names.class_name}Settings",
        "setting": names.setting,
        "package": package,
        "events_text": ", ".join(f"`{event_type}`" for event_type in names.events),
    }


def _handler(event_type: str) -> str:
    """A handler for one EventType, as ruff would write it in the class."""
    parameters = f"self, event: Event[{class_name(event_type)}], tx: Transaction, prepared: None"
    line = f"    async def on_{event_type}({parameters}) -> None:"
    if len(line) > WIDTH:
        line = f"    async def on_{event_type}(\n        {parameters}\n    ) -> None:"
    return f"    @on({class_name(event_type)})\n{line}\n        await self.note(event, tx)\n"


def _payloads(events: Sequence[str]) -> str:
    """The import of what their ``data`` holds."""
    return _import("dingbridge.generated.payloads", *sorted(map(class_name, events), key=str.lower))


def _import(module: str, *names: str) -> str:
    """``from module import names``, as ruff would write it."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def _imports(package: str, ours: str, dingbridge: str, others: str) -> str:
    """Import lines in ruff's order. In a repository of its own, dingbridge is one of the ``others``."""
    inside = package.startswith("dingbridge.")
    groups = (others, f"{dingbridge}\n{ours}") if inside else (f"{dingbridge}\n{others}", ours)
    sorted_groups = []
    for lines in filter(None, map(str.strip, groups)):
        statements = re.split(r"\n(?=from |import )", lines)
        sorted_groups.append("\n".join(sorted(statements, key=lambda s: (s[0] == "f", s.split()[1]))))
    return "\n\n".join(sorted_groups)


def add_package(plan: Plan, folder: Path, names: Names, package: str) -> None:
    """Code, settings and the first revision, importable as ``package``."""
    values = values_of(names, package)
    imports = _imports(
        package,
        _import(f"{package}.settings", values["settings_class"]),
        "from dingbridge import Consumer, Event, Reader, Transaction, UtcDateTime, on\n"
        f"from dingbridge import Table as Shown\n{_payloads(names.events)}",
        "from sqlalchemy import Column, MetaData, Table, Text, select",
    )
    handlers = "\n".join(map(_handler, names.events))
    of_settings = _imports(package, "", "from dingbridge import Settings", "from pydantic import Field")
    plan.new[folder / "__init__.py"] = text_of("package/__init__.py", values)
    plan.new[folder / "consumer.py"] = text_of(
        "package/consumer.py", values | {"imports": imports, "handlers": handlers}
    )
    plan.new[folder / "settings.py"] = text_of("package/settings.py", values | {"imports": of_settings})
    plan.new[folder / "migrations" / "__init__.py"] = text_of("package/migrations.py", values)
    imports = _imports(
        package, "", "from dingbridge import UtcDateTime", "import sqlalchemy as sa\nfrom alembic import op"
    )
    first = "v0001_first_tables.py"
    plan.new[folder / "migrations" / first] = text_of(f"package/{first}", values | {"imports": imports})


def add_test(
    plan: Plan, folder: Path, names: Names, package: str, examples: Examples, file: str = "", mark: str = ""
) -> None:
    """``file`` is the test's, if it is not called after the consumer; ``mark`` its ``pytestmark``."""
    imports = _imports(
        package,
        f"from {package} import {names.class_name}\nfrom {package}.consumer import events",
        "from dingbridge.testing import recorded",
        "import pytest\nfrom sqlalchemy import select" if mark else "from sqlalchemy import select",
    )
    mark = f"pytestmark = {mark}\n" if mark else ""
    values = values_of(names, package) | {"imports": imports, "mark": mark}
    plan.new[folder / (file or f"test_{names.module}.py")] = text_of("package/test.py", values)
    for event_type, callbacks in examples.items():
        text = orjson.dumps(callbacks, option=orjson.OPT_INDENT_2).decode()
        plan.new[folder / "events" / f"{event_type}.json"] = text + "\n"


def _announce(plan: Plan, path: Path, line: str) -> None:
    """Add the entry point ``line`` to a ``pyproject.toml``."""
    before = path.read_text(encoding="utf-8")
    head, found, rest = before.partition(f"{SECTION}\n")
    if not found:
        raise ScaffoldError(f"{path} has no section {SECTION}, in which consumers are announced; add it")
    entries, gap, tail = rest.partition("\n\n")
    plan.changed[path] = f"{head}{found}{entries.rstrip()}\n{line}{gap or chr(10)}{tail}"


def _insert(plan: Plan, path: Path, place: re.Pattern[str], lines: str) -> None:
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if len(place.findall(before)) == 1:
        plan.changed[path] = place.sub(lambda _: f"\n{lines}", before)
    else:  # somebody has made it their own
        plan.by_hand.append(f"add to {path.relative_to(plan.root)}:\n{lines}")
