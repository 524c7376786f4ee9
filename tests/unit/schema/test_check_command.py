"""`python -m dev.schemas check`: against a folder and against a git ref, with exit codes for scripts."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from dev.schemas.__main__ import app
from dev.schemas.files import ROOT

Json = dict[str, Any]
DATA = ("channels", "bpms_task_change", "messages", "bpms_task_change", "payload", "properties", "data")


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


@pytest.fixture
def former(tmp_path: Path) -> Json:
    document: Json = json.loads((ROOT / "schemas/asyncapi.json").read_bytes())
    return document


def properties(document: Json) -> Json:
    for name in DATA:
        document = document[name]
    found: Json = document["properties"]
    return found


def in_folder(folder: Path, document: Json) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "asyncapi.json").write_text(json.dumps(document), encoding="utf-8")
    return str(folder)


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, former: Json, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its tag `v1` has a contract with one field more than ours, in the folder `schemas`."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    properties(former)["removedSince"] = {"type": "string"}
    in_folder(tmp_path / "schemas", former)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    git(tmp_path, "tag", "v1")
    return tmp_path


def test_our_own_contract_breaks_nothing() -> None:
    done = check("--against", str(ROOT))
    assert (done.exit_code, done.stdout) == (0, "")
    assert "0 break(s)" in done.stderr


def test_a_removed_field_is_a_break_that_scripts_see(tmp_path: Path, former: Json) -> None:
    properties(former)["removedSince"] = {"type": "string"}
    done = check("--against", in_folder(tmp_path, former), "--json")
    assert done.exit_code == 1
    [found] = map(json.loads, done.stdout.splitlines())
    assert (found["topic"], found["path"], found["verdict"]) == (
        "bpms_task_change",
        "data.removedSince",
        "break",
    )
    assert "docs/reference/contract.md" in done.stderr


def test_a_new_field_is_none_and_is_shown_on_request(tmp_path: Path, former: Json) -> None:
    name = next(name for name in properties(former) if name not in former)
    del properties(former)[name]
    # the field was not required then, either: whoever relies on it has it from us
    folder = in_folder(tmp_path, former)
    done = check("--against", folder)
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"data.{name}" in check("--against", folder, "--all").stdout


def test_a_git_ref_is_read_in_the_repository_that_one_stands_in(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "below").mkdir()
    monkeypatch.chdir(repository / "below")
    done = check("--against", "v1")
    assert done.exit_code == 1
    assert "data.removedSince" in done.stdout


def test_what_is_no_ref_is_a_mistake_of_usage(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "empty").mkdir()
    monkeypatch.chdir(repository / "empty")
    for ref in ("v2", "--output=x", "v1:schemas", "empty"):
        done = check(f"--against={ref}")
        assert (done.exit_code, "--against" in done.stderr) == (2, True), ref
        assert not (repository / "empty" / "x").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"asyncapi": "2.6.0", "info": {}, "channels": {}}'])
def test_a_file_that_is_no_contract_of_ours_is_a_mistake_of_usage(tmp_path: Path, text: str) -> None:
    (tmp_path / "asyncapi.json").write_text(text, encoding="utf-8")
    done = check("--against", str(tmp_path))
    assert done.exit_code == 2
    assert "no contract of ours" in " ".join(done.stderr.replace("│", " ").split())
