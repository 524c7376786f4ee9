"""The command line: commands of other packages, help, refusals, and an output that takes no more."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from dingbridge import Consumer
from dingbridge.cli import main as cli
from dingbridge.cli.consume import _load
from dingbridge.cli.consumers import command as consumers
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.ingress.admin.cli import app
from dingbridge.worker import registry
from tests.support.processes import command

PROGRAM = """
import resource, sys
import typer
from dingbridge.cli import main as cli

lines, largest = map(int, sys.argv[1:])
if largest >= 0:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
app = typer.Typer(pretty_exceptions_enable=False)

@app.command()
def show() -> None:
    for _ in range(lines):
        print("x" * 99)

cli._build = lambda called: app
sys.argv[1:] = []
cli.main()
"""


LINES = pytest.mark.parametrize("lines", [1, 10_000], ids=["in the buffer", "beyond it"])


def run(lines: int, largest: int, stdout: int) -> tuple[int, str]:
    """Exit code and standard error of a command that prints ``lines``, to a file of at most ``largest`` bytes
    (-1: any)."""
    arguments = [sys.executable, "-c", PROGRAM, str(lines), str(largest)]
    done = subprocess.run(arguments, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


@LINES
def test_a_reader_that_went_away_is_no_error(lines: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(lines), "-1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait() == 0


@LINES
def test_a_disk_that_takes_no_more_is_said_in_words(lines: int, tmp_path: Path) -> None:
    with (tmp_path / "export").open("wb") as file:
        code, said = run(lines, 0, file.fileno())
    assert code == 1
    assert said.startswith("dingbridge: the output cannot be written (File too large)")
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def of(package: str, name: str, value: str) -> EntryPoint:
    point = EntryPoint(name, value, cli.GROUP)
    vars(point).update(dist=SimpleNamespace(name=package))
    return point


def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Exit code and output of ``dingbridge <arguments>`` with a few commands of other packages."""
    points = [
        of("theirs", "bills", "tests.unit.library.nowhere:app"),
        of("theirs", "topics", "tests.unit.library.nowhere:app"),
        of("dingbridge", "topics", "dingbridge.cli.topics:app"),
        of("dingbridge", "renamed", "dingbridge.cli.topics:command_of_yesterday"),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    monkeypatch.setattr(sys, "argv", ["dingbridge", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out + err


def test_another_packages_command_is_listed_with_it_and_takes_no_place_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(monkeypatch, capsys, "--help")
    assert (code, "From theirs." in said, cli.COMMANDS["topics"] in said) == (0, True, True)
    code, said = told(monkeypatch, capsys, "topics", "--help")
    assert (code, "ensure" in said) == (0, True)


def test_a_command_that_does_not_load_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(monkeypatch, capsys, "bills")
    assert code == 1
    assert "the command bills (tests.unit.library.nowhere:app) of theirs cannot be loaded" in said


def test_an_installation_older_than_the_sources_is_told_to_install_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(monkeypatch, capsys, "renamed")
    assert (code, "make install" in said) == (1, True)


def test_help_lists_each_command_in_one_line_of_80_columns_and_imports_none() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command("--help")],
        env={"COLUMNS": "80", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("│ ")]
    commands = [line.split()[1] for line in lines if not line.split()[1].startswith("-")]
    assert set(commands) <= set(cli.COMMANDS)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {"dingbridge.settings", "aiokafka", "sqlalchemy", "ingress", "simulator", "consumers"}
    assert not modules & heavy


def options(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """``(command, option or argument)`` of a command and of those below it."""
    yield from ((name, str(parameter.name)) for parameter in command.params)
    for below, child in getattr(command, "commands", {}).items():
        yield from options(child, f"{name} {below}")


def test_no_command_takes_a_secret_as_an_argument() -> None:
    """A machine's list of processes shows them to everybody."""
    taken = []
    for point in entry_points(group=cli.GROUP):
        app = typer.Typer(name=point.name)
        command = point.load()
        if isinstance(command, typer.Typer):
            app = command
        else:
            app.command()(command)
        taken += options(typer.main.get_command(app), point.name)
    assert ("callback register", "url") in taken
    assert [found for found in taken if re.search(r"token|secret|password|aes|database", found[1])] == []


# -- ``dingbridge journal`` before it has opened anything; all else is shown by


COMMANDS = [["stats"], ["list"], ["show", "1"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_whoever_may_not_read_the_folder_is_not_told_that_there_is_no_journal(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an operator with a user of his own: the folder is the ingress's user's alone."""

    def forbidden(path: Any = ".") -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "journal").mkdir()
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setattr(os, "scandir", forbidden)
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, BridgeError)
    refused = f"user id {os.geteuid()} may not read the journal in {tmp_path / 'journal'};"
    assert str(error).startswith(refused)
    assert "as the user of the ingress" in str(error)


# -- ``<NAME>_CONCURRENCY`` and its like: a consumer's class, changed by the environment


class LeaveLedger(Consumer):
    name = "leave-ledger"
    topics = ("user_add_org",)

    async def handle(self, event, tx, prepared): ...


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    point = EntryPoint("leave-ledger", f"{__name__}:LeaveLedger", registry.GROUP)
    monkeypatch.setattr(registry, "_found", lambda: {"leave-ledger": point})


def limits(consumer):
    names = ("concurrency", "max_attempts", "retry_first_s", "retry_max_s", "handler_timeout_s")
    return [getattr(consumer, name) for name in names]


def test_what_the_environment_says_is_set_and_shown(monkeypatch):
    assert limits(_load("leave-ledger")[0]) == [32, 8, 0.5, 60, 60]
    values = {"CONCURRENCY": "4", "MAX_ATTEMPTS": "none", "RETRY_MAX_S": "5", "HANDLER_TIMEOUT_S": "7.5"}
    for name, value in values.items():
        monkeypatch.setenv(f"LEAVE_LEDGER_{name}", value)
    assert limits(_load("leave-ledger")[0]) == [4, None, 0.5, 5, 7.5]
    shown = json.loads(CliRunner().invoke(consumers, ["--json"]).stdout)
    assert [shown[name] for name in ("concurrency", "max_attempts", "retry_max_s")] == [4, None, 5]
    assert "no end\t0.5 to 5 s\t7.5 s" in CliRunner().invoke(consumers, []).stdout


def test_mistakes_are_told_with_all_the_others_and_end_no_list(monkeypatch):
    for name, value in {"CONCURRENCY": "0", "MAX_ATTEMPTS": "-1"}.items():
        monkeypatch.setenv(f"LEAVE_LEDGER_{name}", value)
    monkeypatch.setenv("ADMIN_PORT", "x")
    with pytest.raises(
        SettingsError,
        match=r"(?s)LEDGER_CONCURRENCY: .*MAX_ATTEMPTS: must be 1 or more, or none\n.*ADMIN_PORT",
    ):
        _load("leave-ledger")
    shown = CliRunner().invoke(consumers, ["--json"])
    assert shown.exit_code == 0
    assert "LEAVE_LEDGER_CONCURRENCY" in json.loads(shown.stdout)["problem"]
