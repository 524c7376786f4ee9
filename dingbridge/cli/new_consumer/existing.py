"""A new consumer in a project that is there already: what can be added without harm; the rest in words.

``pyproject.toml`` keeps its comments and its order. What another file has (setup.cfg, a lock file) is left to
the author.
"""

import fnmatch
import shlex
from collections.abc import MutableMapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from dingbridge.cli.new_consumer.names import Names, ScaffoldError
from dingbridge.cli.new_consumer.project import Examples, Plan, add_package, add_test, text_of, values_of
from dingbridge.cli.new_consumer.source import Source
from dingbridge.worker.registry import GROUP

Toml = MutableMapping[str, Any]

PLUGIN = "-p dingbridge.testing.plugin"
OPTIONS_ELSEWHERE = dict.fromkeys(("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"), "") | {
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
"""Files in which pytest looks for its options, and the section that has them."""
BY_INDEX = {
    "poetry": "poetry source add --priority=explicit company {0} && poetry add --source company dingbridge",
    "uv": "uv add --index company={0} dingbridge",
}
"""What makes dingbridge a dependency that comes from this index alone."""
IN_DEVELOPMENT = {"poetry": "poetry add --group dev", "uv": "uv add --dev"}
"""What adds a dependency that is in no wheel of the project: there it would be a path of this machine, or the
name alone, for which pip asks any index."""
BACKENDS = {"poetry": "poetry", "uv": "uv_build"}
"""By tool, how the build backend is called that it gives a new project."""
NO_PACKAGES = {"tests", "test", "docs", "examples", "scripts", "build", "dist"}
NO_MODULES = {
    "setup",
    "conftest",
    "test",
    "tests",
    "example",
    "toxfile",
    "noxfile",
    "tasks",
    "fabfile",
    "dodo",
}
"""Which of the files beside pyproject.toml setuptools takes for no module of the project."""


def into_project(root: Path, names: Names, examples: Examples, source: Source, inside: str = "") -> Plan:
    """Into the project at ``root``, below its package ``inside`` (``theirs`` or ``theirs.events``).

    Without ``inside`` below the package that is called as the project is, or is its only one; in a project
    of consumers alone beside them. Raises ``ScaffoldError`` where that leaves it open, and for a
    ``pyproject.toml`` that cannot be read, or is written so that nothing can be added to it.
    """
    file = root / "pyproject.toml"
    if (root / "dingbridge" / "worker").is_dir():
        raise ScaffoldError(f"{root} is a clone of dingbridge: run this in it, without --own-repository")
    try:
        before = file.read_bytes().decode()  # with its line ends
        document = tomlkit.parse(before)
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise ScaffoldError(f"{file} cannot be read ({error}); correct it first") from None
    plan = Plan(root)
    parent = _parent(root, document, inside)
    folder = parent / f"{names.module}_consumer"
    base = root / "src" if parent.is_relative_to(root / "src") else root
    package = ".".join(folder.relative_to(base).parts)
    if folder.exists() or folder.with_suffix(".py").exists():
        raise ScaffoldError(f"{folder} exists already, and nothing is overwritten; take another name")

    add_package(plan, folder, names, package)
    tests = root / _tests(document) / names.module
    values = values_of(names, package) | {"tests": str(tests.relative_to(root))}
    plan.new[folder / "README.md"] = text_of("existing/README.md", values)
    add_test(plan, tests, names, package, examples, f"test_{names.module}_consumer.py", "pytest.mark.asyncio")
    if (tests.parent / "__init__.py").exists():
        plan.new[tests / "__init__.py"] = ""

    try:
        _announce(plan, document, names, f"{package}:{names.class_name}")
        _ship(plan, document, package, alone=parent == base)
        _depend(plan, document, source)
        _test_by(plan, document)
        end = "\r\n" if "\r\n" in before else "\n"
        text = tomlkit.dumps(document).replace("\r\n", "\n").rstrip("\n").replace("\n", end) + end
        kept = tomlkit.parse(text).unwrap() == document.unwrap()
    except (TOMLKitError, TypeError, ValueError):
        kept = False
    if not kept:
        raise ScaffoldError(
            f"nothing can be added to {file} as it is written; give `project` and `project.entry-points` a "
            "table of their own ([project], not project.name = … and no {…}), and run this again"
        )
    if text != before:
        plan.changed[file] = text
    return plan


def _get(document: Any, *path: str) -> Any:
    """What stands there; None: nothing."""
    for name in path:
        document = document.get(name) if isinstance(document, MutableMapping) else None
    return document


def _put(document: Any, path: Sequence[str], key: str, value: Any) -> None:
    """Into the table of that name; into a new one, with a blank line behind it, if there is none."""
    new = _get(document, *path) is None
    for name in path:
        if name not in document:
            document[name] = tomlkit.table(is_super_table=name != path[-1])
        document = document[name]
    document[key] = value
    if new:
        document.add(tomlkit.nl())


def _parent(root: Path, document: Toml, inside: str) -> Path:
    """The folder of the package into which the new one goes; that of the packages themselves, if there is
    none."""
    bases = [base for base in (root / "src", root) if base.is_dir()]
    if inside:
        for base in bases:
            if (folder := base.joinpath(*inside.split("."))).is_dir():
                return folder
        raise ScaffoldError(f"--package {inside}: there is no such folder in {root} or its src")
    for base in bases:
        found = sorted(
            init.parent.name for init in base.glob("*/__init__.py") if init.parent.name not in NO_PACKAGES
        )
        called = str(_get(document, "project", "name") or _get(document, "tool", "poetry", "name") or "")
        own = [name for name in found if name.lower() == called.lower().replace("-", "_").replace(".", "_")]
        if found and all(name.endswith("_consumer") for name in found):
            return base  # a project of consumers: beside them
        if len(own or found) == 1:
            return base / (own or found)[0]
        if found:
            raise ScaffoldError(
                f"{root} has several packages ({', '.join(found)}); say with --package into which one it goes"
            )
    return bases[0]


def _of_pytest(document: Toml) -> tuple[str, ...]:
    """The table of pytest's options. pytest 9 refuses ``ini_options`` beside options of its own kind."""
    native = set(_get(document, "tool", "pytest") or ()) - {"ini_options"}
    return ("tool", "pytest") if native else ("tool", "pytest", "ini_options")


def _tests(document: Toml) -> str:
    paths = _get(document, *_of_pytest(document), "testpaths")
    return str(paths[0]) if isinstance(paths, list) and paths else "tests"


def _announce(plan: Plan, document: Toml, names: Names, target: str) -> None:
    place: tuple[str, ...]
    if (project := _get(document, "project")) is not None:
        place, by_hand = ("project", "entry-points"), "entry-points" in project.get("dynamic", ())
    else:
        place, by_hand = ("tool", "poetry", "plugins"), _get(document, "tool", "poetry") is None
    if by_hand:
        plan.by_hand.append(
            f"where the project has its entry points, add to the group {GROUP}: {names.name} = {target}"
        )
        return
    if _get(document, *place, GROUP, names.name) is not None:
        raise ScaffoldError(f"pyproject.toml announces a consumer {names.name!r} already; take another name")
    _put(document, (*place, GROUP), names.name, target)


def _ship(plan: Plan, document: Toml, package: str, *, alone: bool) -> None:
    """Let the package and its migrations be in the project's wheel, where setuptools has a list of them."""
    setuptools = cast(Toml, _get(document, "tool", "setuptools") or {})
    listed, found = setuptools.get("packages"), _get(setuptools, "packages", "find", "include")
    wanted = (package, f"{package}.migrations")
    if isinstance(listed, list):
        listed.extend(wanted)
    elif found is not None:
        if not all(any(fnmatch.fnmatch(name, pattern) for pattern in found) for name in wanted):
            found.append(f"{package}*")
    elif alone and (plan.root / package).parent == plan.root and _found_by_setuptools(plan.root, document):
        # what setuptools finds by itself is one package, or one module: no longer theirs beside ours
        theirs = {path.parent.name for path in plan.root.glob("*/*.py")} - NO_PACKAGES
        modules = {path.stem for path in plan.root.glob("[!._]*.py")} - NO_MODULES
        if not theirs and len(modules) == 1 and "py-modules" not in setuptools:
            _put(document, ("tool", "setuptools"), "py-modules", [*modules])
        patterns = [f"{name}*" for name in (*sorted(filter(str.isidentifier, theirs)), package)]
        _put(document, ("tool", "setuptools", "packages", "find"), "include", patterns)
    elif alone or not (_get(document, "project") or _get(document, "tool", "poetry")):
        plan.by_hand.append(f"look that the project's wheel holds {package} and {package}.migrations")


def _found_by_setuptools(root: Path, document: Toml) -> bool:
    backend = str(_get(document, "build-system", "build-backend") or "setuptools")
    elsewhere = any((root / name).exists() for name in ("setup.py", "setup.cfg"))
    return _get(document, "project") is not None and backend.startswith("setuptools") and not elsewhere


def _depend(plan: Plan, document: Toml, source: Source) -> None:
    """With an index of one's own the name may stand among the dependencies; else pip would ask any index."""
    dependencies = _get(document, "project", "dependencies")
    backend = str(_get(document, "build-system", "build-backend") or "")
    for tool in BY_INDEX:
        locked = (plan.root / f"{tool}.lock").exists()
        if locked or _get(document, "tool", tool) is not None or backend.startswith(BACKENDS[tool]):
            plan.tool = tool
            plan.by_hand.append(_by_tool(tool, document, source))
            return
    if not (source.index and isinstance(dependencies, list)):
        plan.by_hand.append(
            f"install dingbridge beside the project, by `pip install {source.pip}`: it is not among its "
            "dependencies, since pip would ask any index for the name"
        )
    elif not any(str(one).startswith("dingbridge") for one in dependencies):
        dependencies.append(f"dingbridge>={version('dingbridge')}")


def _by_tool(tool: str, document: Toml, source: Source) -> str:
    """The commands that make dingbridge a dependency. A wheel goes into the project, so each clone has it."""
    place = source.place.removeprefix("dingbridge @ ")
    if source.index:
        return BY_INDEX[tool].format(shlex.quote(place))
    if place != source.place or not place.endswith(".whl"):
        return f"{IN_DEVELOPMENT[tool]} {shlex.quote(place)}"
    wheel = f"wheels/{Path(place).name}"
    copied = f"mkdir -p wheels && cp {shlex.quote(place)} wheels/"
    if tool == "uv":
        return f"{copied} && {IN_DEVELOPMENT[tool]} {wheel}"
    dependency = tomlkit.inline_table().append("path", wheel)  # `poetry add` writes an absolute path
    _put(document, ("tool", "poetry", "group", "dingbridge", "dependencies"), "dingbridge", dependency)
    return f"{copied} && poetry lock"


def _test_by(plan: Plan, document: Toml) -> None:
    """Have pytest load the fixture ``running``, if it is set up in pyproject.toml or nowhere."""
    place = _of_pytest(document)
    options = _get(document, *place, "addopts") or ""
    elsewhere = [
        name
        for name, mark in OPTIONS_ELSEWHERE.items()
        if (plan.root / name).is_file() and mark in (plan.root / name).read_text(encoding="utf-8")
    ]
    if elsewhere:
        plan.by_hand.append(f"in {elsewhere[0]}, add to pytest's options: addopts = {PLUGIN}")
    elif isinstance(options, list):
        options.extend(() if PLUGIN in " ".join(map(str, options)) else PLUGIN.split())
    elif place[-1] == "pytest" and not options:
        _put(document, place, "addopts", PLUGIN.split())
    elif PLUGIN not in options:
        _put(document, place, "addopts", f"{options} {PLUGIN}".strip())
    if "pytest-asyncio" not in tomlkit.dumps(cast(tomlkit.TOMLDocument, document)):
        plan.by_hand.append(
            f"{IN_DEVELOPMENT[plan.tool]} pytest pytest-asyncio"
            if plan.tool
            else "put pytest and pytest-asyncio among the dependencies of the tests"
        )
