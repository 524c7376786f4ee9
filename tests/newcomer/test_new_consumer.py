"""``dingbridge new-consumer``: what it writes is tested and runs at once, in a clone and on its own."""

import re
import shutil
import sysconfig

import pytest
import yaml

from dingbridge.cli.main import main
from tests.support.clone import ROOT, Clone, contents, virtual_environment

LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
PACKAGES = """
for site in .venv/lib/python*/site-packages; do
    rm -rf "$site"/setuptools*  # older than what builds dingbridge, which pip would download
    echo "$1" >"$site/packages.pth"
done
"""
"""Lets the environment in this folder see the packages in ``$1``."""
CODE = ("__init__", "consumer", "settings", "migrations/__init__", "migrations/v0001_first_tables")
EVENTS = ("bpms_instance_change", "user_add_org", "attendance_check_record")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    return Clone(tmp_path_factory.mktemp("clone"))


def pytest_in(clone, *arguments, env=None):
    python = str(clone.venv / "bin" / "python")
    return clone.run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, env=env).stdout


def consumed(clone, name, env=None):
    """The consumer is found and loaded, and has not run yet."""
    said = clone.dingbridge("consume", name, "--show", code=1, env=env).stderr
    assert f"start it first: dingbridge consume {name}" in said


def test_in_a_clone_it_is_tested_and_runs_at_once(clone, kafka_env, tmp_path):
    before = contents(clone.path)
    said = clone.dingbridge("new-consumer", "leave-ledger", "--events", ",".join(EVENTS)).stdout
    written = contents(clone.path)
    new = written.keys() - before.keys()
    assert new == {
        *(f"consumers/leave_ledger/{file}.py" for file in CODE),
        *(f"tests/unit/leave_ledger/{file}.py" for file in ("__init__", "test_leave_ledger")),
        *(f"tests/unit/leave_ledger/events/{event}.json" for event in EVENTS),
    }
    changed = {name for name, text in before.items() if written[name] != text}
    compose_files = ("docker-compose.yml", "docker-compose.app.yml")
    assert changed == {"pyproject.toml", *compose_files, "deploy/prometheus/compose.yml"}
    for path in new | changed:
        assert path in said
    for name in changed:
        lines = written[name].decode().splitlines()
        assert set(before[name].decode().splitlines()) <= set(lines), "nothing that stood there is gone"

    for file in compose_files:
        services = yaml.safe_load(written[file])["services"]
        approval = services["approval"] | (
            {"command": ["consume", "leave-ledger"]} if file == "docker-compose.yml" else {}
        )
        assert services["leave-ledger"] == approval

    clone.sh("make install")
    assert "1 passed" in pytest_in(clone, "tests/unit/leave_ledger")
    assert "1 passed" in pytest_in(clone, "tests/unit/leave_ledger", "--kafka", env=kafka_env)
    consumed(clone, "leave-ledger", {"DATA_DIR": str(tmp_path)})
    # what `make lint` says of it
    python = str(clone.venv / "bin" / "python"), "-m"
    clone.run(*python, "ruff", "check", "--no-cache", ".")
    clone.run(*python, "ruff", "format", "--no-cache", "--check", ".")
    if (ROOT / ".mypy_cache").is_dir():  # what it knows already of all other modules
        shutil.copytree(ROOT / ".mypy_cache", clone.path / ".mypy_cache")
    clone.run(*python, "mypy", "--package", "dingbridge.consumers.leave_ledger")
    clone.run(str(clone.venv / "bin" / "python"), "-c", LINT_IMPORTS, "--no-cache")
    pytest_in(clone, "tests/lint")


def test_in_a_repository_of_its_own_it_is_tested_and_found_by_its_entry_point(clone, kafka_env, tmp_path):
    folder = tmp_path / "their" / "rent"
    before = contents(clone.path)
    arguments = ("--events", ",".join(EVENTS), "--own-repository", str(folder))
    said = clone.dingbridge("new-consumer", "rent", *arguments).stdout
    assert contents(clone.path) == before
    assert contents(folder).keys() == {
        *(f"rent_consumer/{file}.py" for file in CODE),
        "tests/test_rent.py",
        *(f"tests/events/{event}.json" for event in EVENTS),
        *("pyproject.toml", "README.md", "Dockerfile", "docker-compose.yml", ".gitignore", ".dockerignore"),
    }
    assert "rent" in (folder / "README.md").read_text(encoding="utf-8")
    service = yaml.safe_load((folder / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["rent"]
    assert service["command"] == ["consume", "rent"]

    # the words that it prints, in a fresh environment; what they would download is there
    [words] = re.findall(r"^next +(.*)$", said, re.MULTILINE)
    there = "&& .venv/bin/pip install"
    assert there in words
    begin, rest = words.split(there, 1)
    (tmp_path / "see_packages.sh").write_text(PACKAGES)
    ready = f"{begin} && sh {tmp_path}/see_packages.sh {sysconfig.get_path('purelib')} {there} {rest}"
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    assert "1 passed" in clone.sh(ready, env=offline).stdout
    python = str(folder / ".venv" / "bin" / "python")
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    clone.run("env", "-C", str(folder), python, "-m", "mypy")
    clone.run("env", "-C", str(folder), python, "-m", "ruff", "check", "--no-cache", "--extend-select", "I")
    result = clone.run("env", "-C", str(folder), python, "-m", "pytest", "-q", "--kafka", env=kafka_env)
    assert "1 passed" in result.stdout
    # built as a wheel, it has its revisions with it
    clone.install(str(folder), editable=False)
    consumed(clone, "rent", {"DATA_DIR": str(tmp_path / "data")})
    assert "No revision is missing" in clone.dingbridge("consumers", "migrate", "rent").stderr


TAKEN = ("consumers", "console", "ingress", "simulator", "schemas", "dev")
THEIRS = f"""
[project]
name = "their-oa"  # theirs
version = "1"

[tool.setuptools]
packages = {list(TAKEN)}
"""
HANDLED = """
import asyncio
import sys
from pathlib import Path

from consumers.rent_consumer.consumer import Rent, events
from dingbridge.testing import MemoryRuntime, recorded
from sqlalchemy import select

async def main(url):
    async with MemoryRuntime(Rent(), database_url=url) as runtime:
        for record in recorded(Path("tests/rent/events")):
            await runtime.deliver(record)
        rows = await runtime.rows(select(events))
        print(sorted({getattr(row, "kind", "no such column") for row in rows}))

asyncio.run(main(sys.argv[1]))
"""


def test_it_enters_a_project_that_has_all_our_names_and_gets_a_column_more(clone, tmp_path, postgres_url):
    folder = tmp_path / "theirs"
    for name in TAKEN:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("OWNER = 'theirs'\n")
    (folder / "pyproject.toml").write_text(THEIRS)
    python = virtual_environment(tmp_path / "venv") / "bin" / "python"
    pip = (str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    clone.run(*pip, "--editable", str(clone.path))

    def there(*arguments):
        return clone.run("env", "-C", str(folder), *arguments)

    dingbridge = str(python.with_name("dingbridge"))
    asked = ("new-consumer", "rent", "--events", "user_add_org", "--own-repository", ".")
    said = there(dingbridge, *asked, "--package", "consumers").stdout
    assert re.findall(r"^changed +(.*)$", said, re.MULTILINE) == ["pyproject.toml"]
    assert (folder / "pyproject.toml").read_text().startswith(THEIRS.split("version")[0])
    [command] = re.findall(r"^next .* (-m pytest .*)$", said, re.MULTILINE)
    assert "1 passed" in there(str(python), *command.split(), "-q").stdout

    databases = (f"sqlite:///{tmp_path}/rent.db", postgres_url)
    for url in databases:
        assert "['no such column']" in there(str(python), "-c", HANDLED, url).stdout
    code = folder / "consumers" / "rent_consumer" / "consumer.py"
    column = '    Column("kind", Text, server_default="old"),\n'
    code.write_text(code.read_text().replace('    Column("event_type"', f'{column}    Column("event_type"'))
    there(dingbridge, "consumers", "migrate", f"{code}:Rent", "--write", "-m", "the kind of rent")
    there(*pip, ".")  # from here on its wheel is used
    shutil.move(folder / "tests", tmp_path / "tests")
    for url in databases:
        from_wheel = clone.run("env", "-C", str(tmp_path), str(python), "-c", HANDLED, url)
        assert "['old']" in from_wheel.stdout


@pytest.mark.parametrize(
    ("name", "events", "words"),
    [
        ("Billing", "user_add_org", "cannot be a consumer's name"),
        ("1st", "user_add_org", "cannot be a consumer's name"),
        ("a--b", "user_add_org", "cannot be a consumer's name"),
        ("class", "user_add_org", "cannot be a consumer's name"),
        ("x" * 31, "user_add_org", "at most 30"),
        ("approval", "user_add_org", "there is a consumer 'approval' already"),
        ("worker", "user_add_org", "exists already, and nothing is overwritten"),
        ("billing", "bpms_instance_chang", "near it are bpms_instance_change"),
        ("billing", "User_Add_Org", "near it are user_add_org"),
        ("billing", "user_add_org,check_url", "no EventType 'check_url'"),
        ("billing", ",", "names no EventType"),
    ],
    ids=lambda value: re.sub(r"\W", "-", value)[:30],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(clone, monkeypatch, capsys, name, events, words):
    before = contents(clone.path)
    monkeypatch.chdir(clone.path)
    monkeypatch.setattr("sys.argv", ["dingbridge", "new-consumer", name, "--events", events])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert contents(clone.path) == before


def test_outside_of_a_clone_it_says_where_to_go(clone, tmp_path):
    dingbridge = str(clone.venv / "bin" / "dingbridge")
    asked = ("new-consumer", "billing", "--events", "user_add_org")
    result = clone.run("env", "-C", str(tmp_path), dingbridge, *asked, code=2)
    assert "is in no clone of dingbridge" in result.stderr
    assert list(tmp_path.iterdir()) == []
