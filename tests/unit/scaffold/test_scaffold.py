"""The parts of ``dingbridge new-consumer``: examples of each type, texts of each name, all or nothing."""

import ast
import io
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect

from dev.examples import texts
from dingbridge.cli.consumer_file import load
from dingbridge.cli.new_consumer.existing import into_project
from dingbridge.cli.new_consumer.names import LONGEST_NAME, ScaffoldError, check
from dingbridge.cli.new_consumer.project import WIDTH, Plan, in_clone, own_repository
from dingbridge.cli.new_consumer.source import Source, source_of
from dingbridge.events import URL_CHECKS, catalogue, decode
from dingbridge.events.examples import example_callbacks
from dingbridge.generated import payloads
from dingbridge.migrations.upgrade import upgrade
from dingbridge.testing import recorded

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "schemas" / "examples"
CLONE = Source(str(ROOT))
TYPES = tuple(event_type for event_type in catalogue if event_type not in URL_CHECKS)

parts = st.text("abcz019", min_size=1, max_size=5)
names = st.lists(parts, max_size=4).map(lambda found: "-".join(["a", *found])) | st.just("z" * LONGEST_NAME)


def test_of_every_known_type_there_are_examples_that_are_events_of_it():
    for event_type in TYPES:
        assert 1 <= len(example_callbacks(event_type)) <= 3
        for record in recorded(EXAMPLES / f"{event_type}.json"):
            assert (record.event_type, record.fault) == (event_type, None)
            decode(record.value)
    for name in ("no_such_type", "../catalogue", "check_url"):
        with pytest.raises(KeyError):
            example_callbacks(name)


def test_the_examples_are_those_that_the_simulator_sends_now():
    """After a change of it or of the catalogue: python -m dev.examples"""
    assert {path.name: path.read_text("utf-8") for path in EXAMPLES.iterdir()} == texts()


def test_an_approval_is_started_agreed_to_and_refused():
    callbacks = example_callbacks("bpms_instance_change")
    assert [(callback["type"], callback.get("result")) for callback in callbacks] == [
        ("start", None),
        ("finish", "agree"),
        ("finish", "refuse"),
    ]
    assert {callback["processCode"] for callback in callbacks} == {"PROC-LEAVE"}


@given(names, st.lists(st.sampled_from(TYPES), min_size=1, max_size=12), st.booleans())
def test_whatever_it_is_called_what_is_written_is_python_and_toml(name, events, own):
    try:
        asked = check(name, events, [])
    except ScaffoldError:  # a word of Python's
        return
    plan = own_repository(Path("no-such-folder"), asked, {}, CLONE) if own else in_clone(ROOT, asked, {})
    for path, text in plan.new.items():
        if path.suffix == ".py":
            tree = ast.parse(text)
            imported = {alias.name for node in ast.walk(tree) for alias in _from_payloads(node)}
            assert len(imported) == (len(asked.events) if path.name == "consumer.py" else 0)
            assert imported <= vars(payloads).keys()
            assert max(map(len, text.splitlines()), default=0) <= WIDTH, path
        if path.suffix == ".toml":
            project = tomllib.loads(text)
            assert name in project["project"]["entry-points"]["dingbridge.consumers"]
    for path, after in plan.changed.items():
        before = path.read_text(encoding="utf-8")
        assert len(after) > len(before)
        if path.suffix == ".toml":
            points = [
                tomllib.loads(t)["project"]["entry-points"]["dingbridge.consumers"] for t in (before, after)
            ]
            assert points[1] == points[0] | {name: f"dingbridge.consumers.{asked.module}:{asked.class_name}"}
    assert plan.by_hand == []
    for ignored in (".gitignore", ".dockerignore") if own else ():  # secrets stand in .env
        assert ".env" in plan.new[Path("no-such-folder") / ignored].splitlines()


def _from_payloads(node):
    of_payloads = isinstance(node, ast.ImportFrom) and node.module == payloads.__name__
    return node.names if of_payloads else ()


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project.entry-points."dingbridge.consumers"]\na = "b:C"\n')
    (tmp_path / "docker-compose.yml").write_text("services:\n  mine: {}\n")
    return in_clone(
        tmp_path, check("billing", ["user_add_org"], []), {"user_add_org": example_callbacks("user_add_org")}
    )


def test_a_compose_file_that_is_not_ours_is_left_alone_and_the_service_is_said(plan, tmp_path):
    assert [path.name for path in plan.changed] == ["pyproject.toml"]
    assert "command: [consume, billing]" in plan.by_hand[0]
    plan.write()
    assert (tmp_path / "pyproject.toml").read_text().splitlines()[1:] == [
        'a = "b:C"',
        'billing = "dingbridge.consumers.billing:Billing"',
    ]
    assert (tmp_path / "docker-compose.yml").read_text() == "services:\n  mine: {}\n"


def test_a_file_that_cannot_be_written_is_said_and_ours_are_not_changed(plan, tmp_path):
    (tmp_path / "tests").write_text("a file where a folder should be")
    before = {path: path.read_text() for path in plan.changed}
    with pytest.raises(ScaffoldError, match=r"tests.* cannot be written .* run this again"):
        plan.write()
    assert {path: path.read_text() for path in plan.changed} == before


def test_when_one_file_is_there_already_none_is_written(plan, tmp_path):
    mine = tmp_path / "consumers" / "billing" / "consumer.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ScaffoldError, match="nothing is overwritten"):
        plan.write()
    assert [p.name for p in (tmp_path / "consumers").rglob("*.py")] == ["consumer.py"]
    assert mine.read_text() == "mine"


# -- tables from the first day


def test_the_first_revision_makes_the_tables_of_the_code(tmp_path, monkeypatch):
    own_repository(tmp_path, check("rent", ["user_add_org"], []), {}, CLONE).write()
    monkeypatch.setattr(sys, "path", [*sys.path])
    consumer = load(f"{tmp_path}/rent_consumer/consumer.py:Rent")
    found = []
    for make in (lambda connection: consumer.metadata.create_all(connection), lambda c: upgrade(c, consumer)):
        engine = create_engine("sqlite://")
        with engine.connect() as connection:
            make(connection)
            columns = inspect(connection).get_multi_columns(filter_names=[*consumer.own_tables])
            found.append({name: str(each) for name, each in columns.items()})
        engine.dispose()
    of_code, of_revision = found
    assert of_code == of_revision != {}


# -- a project that is there already


def entered(folder: Path, pyproject: str, *files: str, source: Source = CLONE, inside: str = "") -> Plan:
    """Consumer `rent` in a project at ``folder`` with these files; each is as it was, or has more."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("[tool:pytest]\n" if name == "setup.cfg" else "")
    (folder / "pyproject.toml").write_text(pyproject)
    plan = into_project(folder, check("rent", ["user_add_org"], []), {}, source, inside)
    plan.write()
    return plan


def of(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


BACKEND = '[build-system]\nrequires = []\nbuild-backend = "%s"\n'
PROJECT = """# ours
[project]
name = "their-oa"   # as in the contract
version = "1"
dependencies = [
  "requests",  # for HTTP
]

[tool.setuptools]
packages = ["their_oa"]

[project.scripts]
oa = "their_oa:main"

[tool.pytest.ini_options]
addopts = ["-q"]  # quiet
testpaths = ["checks"]
"""


def test_a_project_keeps_all_that_it_has_and_gets_what_a_consumer_needs(tmp_path):
    plan = entered(tmp_path, PROJECT, "their_oa/__init__.py", "other/__init__.py", "checks/__init__.py")
    after = (tmp_path / "pyproject.toml").read_text()
    changed = {'packages = ["their_oa"]', 'addopts = ["-q"]  # quiet'}
    assert set(PROJECT.splitlines()) - changed <= set(after.splitlines())
    project = of(tmp_path)
    points = project["project"]["entry-points"]["dingbridge.consumers"]
    assert points == {"rent": "their_oa.rent_consumer:Rent"}
    assert project["project"]["scripts"] == {"oa": "their_oa:main"}
    assert project["project"]["dependencies"] == ["requests"]
    packages = ["their_oa", "their_oa.rent_consumer", "their_oa.rent_consumer.migrations"]
    assert project["tool"]["setuptools"]["packages"] == packages
    assert project["tool"]["pytest"]["ini_options"]["addopts"] == ["-q", "-p", "dingbridge.testing.plugin"]
    assert (tmp_path / "checks/rent/test_rent_consumer.py").is_file()
    assert (tmp_path / "checks/rent/__init__.py").is_file()
    words = "\n".join(plan.by_hand)
    assert f"pip install {ROOT}" in words
    assert "pytest-asyncio" in words
    with pytest.raises(ScaffoldError, match=r"rent_consumer exists already"):
        into_project(tmp_path, check("rent", ["user_add_org"], []), {}, CLONE)
    into_project(tmp_path, check("lease", ["user_add_org"], []), {}, CLONE).write()
    assert of(tmp_path)["project"]["entry-points"]["dingbridge.consumers"].keys() == {"rent", "lease"}
    assert of(tmp_path)["tool"]["pytest"] == project["tool"]["pytest"]


@pytest.mark.parametrize(
    ("pyproject", "files", "announced", "words"),
    [
        (
            '[tool.poetry]\nname = "x"\n',
            ["src/x/__init__.py"],
            ("tool", "poetry", "plugins"),
            "poetry add --group dev /",
        ),
        (
            '[project]\nname = "x"\n[tool.uv]\n',
            ["x/__init__.py"],
            ("project", "entry-points"),
            "uv add --dev /",
        ),
        ('[project]\nname = "x"\ndynamic = ["entry-points"]\n', ["x/__init__.py"], None, "to the group"),
        ('[build-system]\nrequires = ["setuptools"]\n', ["x/__init__.py", "setup.cfg"], None, "in setup.cfg"),
        (
            f'[project]\nname = "x"\n{BACKEND % "poetry.core"}',
            ["x/__init__.py"],
            None,
            "poetry add --group dev /",
        ),
        (f'[project]\nname = "x"\n{BACKEND % "uv_build"}', ["x/__init__.py"], None, "uv add --dev /"),
        (f'[project]\nname = "x"\n{BACKEND % "flit_core"}', [], None, "wheel holds rent_consumer and"),
        ('[project]\nname = "x"\n', ["x/__init__.py", "pytest.toml"], None, "in pytest.toml"),
    ],
    ids=["poetry-src", "uv", "dynamic", "setup-cfg", "poetry-2", "uv-new", "no-package", "pytest-toml"],
)
def test_what_cannot_be_added_is_said(tmp_path, pyproject, files, announced, words):
    plan = entered(tmp_path, pyproject, *files)
    assert words in "\n".join(plan.by_hand)
    place: Any = of(tmp_path)
    for name in announced or ():
        place = place[name]
    target = f"{'x.' if files else ''}rent_consumer:Rent"
    assert announced is None or place == {"dingbridge.consumers": {"rent": target}}
    assert words != "to the group" or f"rent = {target}" in "\n".join(plan.by_hand)


def test_by_poetry_and_uv_a_wheel_is_in_the_project_and_in_no_wheel_of_its(tmp_path):
    wheel = tmp_path / "dingbridge-0.1.0-py3-none-any.whl"
    wheel.touch()
    copied = f"mkdir -p wheels && cp {wheel} wheels/"
    for tool, add, test in (
        ("poetry", "poetry lock", "poetry add --group dev pytest pytest-asyncio"),
        ("uv", f"uv add --dev wheels/{wheel.name}", "uv add --dev pytest pytest-asyncio"),
    ):
        root = tmp_path / tool
        plan = entered(
            root, f'[project]\nname = "x"\n[tool.{tool}]\n', "x/__init__.py", source=Source(str(wheel))
        )
        assert plan.by_hand == [f"{copied} && {add}", test]
        assert "dependencies" not in of(root)["project"]
    group = of(tmp_path / "poetry")["tool"]["poetry"]["group"]["dingbridge"]["dependencies"]
    assert group == {"dingbridge": {"path": f"wheels/{wheel.name}"}}
    index = source_of("https://index.example.com/simple")
    plan = entered(tmp_path / "index", '[project]\nname = "x"\n[tool.uv]\n', "x/__init__.py", source=index)
    assert plan.by_hand[0] == "uv add --index company=https://index.example.com/simple dingbridge"


@pytest.mark.parametrize(
    ("files", "found", "modules"),
    [
        (["shop.py", "setup.py.txt", "conftest.py"], ["rent_consumer*"], ["shop"]),
        (["shop/api.py", "docs/conf.py"], ["shop*", "rent_consumer*"], None),
        (["lease_consumer/__init__.py"], ["lease_consumer*", "rent_consumer*"], None),
    ],
    ids=["module", "namespace", "consumer"],
)
def test_what_setuptools_found_by_itself_is_in_the_wheel_as_before(tmp_path, files, found, modules):
    entered(tmp_path, '[project]\nname = "oa"\n', *files)
    setuptools = of(tmp_path)["tool"]["setuptools"]
    assert (setuptools["packages"]["find"]["include"], setuptools.get("py-modules")) == (found, modules)


def test_options_of_pytest_9_and_line_ends_stay_of_their_kind(tmp_path):
    entered(
        tmp_path, '[project]\r\nname = "x"\r\n[tool.pytest]\r\ntestpaths = ["checks"]\r\n', "x/__init__.py"
    )
    options = {"testpaths": ["checks"], "addopts": ["-p", "dingbridge.testing.plugin"]}
    assert of(tmp_path)["tool"]["pytest"] == options
    assert (tmp_path / "checks" / "rent").is_dir()
    text = (tmp_path / "pyproject.toml").read_bytes()
    assert text.count(b"\n") == text.count(b"\r\n")


@pytest.mark.parametrize(
    "pyproject",
    [
        'project.name = "x"\nproject.version = "1"\n',
        '[project]\nname = "x"\nentry-points = {a = {b = "c:d"}}\n',
    ],
)
def test_a_project_to_which_nothing_can_be_added_stays_as_it_is(tmp_path, pyproject):
    with pytest.raises(ScaffoldError, match="as it is written"):
        entered(tmp_path, pyproject, "x/__init__.py")
    assert (tmp_path / "pyproject.toml").read_text() == pyproject
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["__init__.py"]


def test_a_second_consumer_goes_beside_the_first_one(tmp_path):
    first, second = (check(name, ["user_add_org"], []) for name in ("rent", "lease"))
    own_repository(tmp_path, first, {}, CLONE).write()
    into_project(tmp_path, second, {}, CLONE).write()
    points = of(tmp_path)["project"]["entry-points"]["dingbridge.consumers"]
    assert points == {"rent": "rent_consumer:Rent", "lease": "lease_consumer:Lease"}
    included = of(tmp_path)["tool"]["setuptools"]["packages"]["find"]["include"]
    assert included == ["rent_consumer*", "lease_consumer*"]
    (tmp_path / "pyproject.toml").unlink()
    with pytest.raises(ScaffoldError, match="is not empty"):
        own_repository(tmp_path, first, {}, CLONE)


def test_an_index_of_ones_own_makes_it_a_dependency(tmp_path):
    entered(tmp_path, PROJECT, "their_oa/__init__.py", source=source_of("https://index.example.com/simple"))
    assert of(tmp_path)["project"]["dependencies"][1].startswith("dingbridge>=")


def test_where_it_is_open_which_package_is_meant_it_asks(tmp_path):
    files = ("consumers/__init__.py", "console/__init__.py")
    with pytest.raises(ScaffoldError, match=r"several packages \(console, consumers\); say with --package"):
        entered(tmp_path, '[project]\nname = "oa"\n', *files)
    entered(tmp_path, '[project]\nname = "oa"\n', *files, inside="consumers")
    points = of(tmp_path)["project"]["entry-points"]["dingbridge.consumers"]
    assert points == {"rent": "consumers.rent_consumer:Rent"}
    with pytest.raises(ScaffoldError, match="cannot be read"):
        entered(tmp_path, "[project\n")
    with pytest.raises(ScaffoldError, match="is a clone of dingbridge"):
        into_project(ROOT, check("rent", ["user_add_org"], []), {}, CLONE)


def test_its_name_is_asked_of_no_index_that_nobody_named(tmp_path, monkeypatch):
    wheel = tmp_path / "dingbridge-0.1.0-py3-none-any.whl"
    wheel.touch()
    assert source_of(str(wheel)).pip == str(wheel)
    assert source_of("https://index.example.com/simple").pip == (
        "--index-url https://index.example.com/simple dingbridge"
    )
    assert source_of(f"https://files.example.com/{wheel.name}").pip.startswith("'dingbridge @ https://")
    for wrong in ("dingbridge", "requests", str(tmp_path), "https://me:secret@index.example.com/simple"):
        with pytest.raises(ScaffoldError) as refused:
            source_of(wrong)
        assert "secret" not in str(refused.value)
    monkeypatch.setattr("dingbridge.cli.new_consumer.source._installed_from", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ScaffoldError, match="--dingbridge"):
        source_of("")
    for source in (Source(str(wheel)), source_of("https://index.example.com/simple")):
        texts_of = own_repository(Path("no-such"), check("rent", ["user_add_org"], []), {}, source).new
        project = tomllib.loads(next(text for path, text in texts_of.items() if path.suffix == ".toml"))
        assert bool(project["project"]["dependencies"]) == source.index
        assert not any(str(tmp_path) in text for text in texts_of.values())
