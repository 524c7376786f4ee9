"""The house stays as it is: small modules, folders that can be looked over, documented interfaces.

Which way imports run is import-linter's business (``pyproject.toml``); this is what it cannot count.
"""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("console", "consumers", "ingress", "simulator")
"""Beside ``dingbridge``, and installed below it."""
PACKAGES = ("dingbridge", *FOLDERS, "dev")
GENERATED = ROOT / "dingbridge" / "generated"
"""Made from the catalogue, and nobody's reading."""
MODULES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if GENERATED not in path.parents
]

MODULE_LINES, FOLDER_MODULES, README_LINES = 400, 14, 120

LIBRARIES = (
    "aiohttp|aiokafka|alembic|apsw|Crypto|prometheus_client|pydantic|rich|sqlalchemy|structlog|tomlkit|typer"
)
PRIVATE = re.compile(
    rf"({LIBRARIES})\..*\b_|"  # a module or a name with an underscore
    r"aiohttp\.(base_protocol|http|http_parser|http_writer|streams|web_protocol)\b"  # undocumented
)

MAYBE_BY_FOLDER = re.compile(rf"^\s*(?:import|from)\s[^\n]*(?<![\w.])(?:{'|'.join(FOLDERS)})\b", re.MULTILINE)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """``(line, full name)`` of everything that is imported below ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.AST]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return (node for node in ast.walk(tree) if isinstance(node, kinds))


def faults(path: Path) -> Iterator[str]:
    name, text = path.relative_to(ROOT), path.read_text(encoding="utf-8")
    if (lines := text.count("\n")) > MODULE_LINES:
        yield f"{name}: {lines} lines; make it two modules"
    tree = ast.parse(text)
    for line, imported in imports(tree):
        if PRIVATE.match(imported):
            yield f"{name}:{line} imports {imported}, which its library does not document"
    if "cli" in name.parts or path.stem.startswith("cli"):
        return  # a command loads what it needs when it is called: `--help` and `--version` are quick
    for function in functions(tree):
        for line, imported in imports(function):
            if imported.split(".")[0] in ("dingbridge", "dev"):
                yield f"{name}:{line} imports {imported} in a function: it belongs at the module's head"


def test_modules_are_small_and_use_documented_interfaces_only() -> None:
    assert [fault for path in MODULES for fault in faults(path)] == []


def test_what_is_installed_has_one_name() -> None:
    """In a clone ``import ingress`` finds the folder, and imports it again; a wheel has none."""
    for folder in FOLDERS:
        assert (ROOT / "dingbridge" / folder).readlink() == Path("..") / folder
    texts = ((path, path.read_text(encoding="utf-8")) for path in [*MODULES, *(ROOT / "tests").rglob("*.py")])
    by_folder = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}: it is called dingbridge.{imported}"
        for path, text in texts
        if MAYBE_BY_FOLDER.search(text)  # parsing them all takes ten times as long
        for line, imported in imports(ast.parse(text))
        if imported.split(".")[0] in FOLDERS
    ]
    assert by_folder == []


def test_no_folder_is_crowded() -> None:
    folders = Counter(path.parent.relative_to(ROOT) for path in MODULES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in folders.items() if count > FOLDER_MODULES} == {}


def test_the_contract_is_data() -> None:
    assert list((ROOT / "schemas").rglob("*.py")) == []
    assert (ROOT / "dingbridge" / "schemas").readlink() == Path("../schemas")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_a_command_that_no_test_starts_can_be_imported() -> None:
    """``make soak`` takes an hour, so that nothing else would notice a name that is gone."""
    assert callable(importlib.import_module("tests.soak.__main__").main)
