"""The demo's parts that need no process: its environment, its output, its errors."""

import io
import os
import re
import subprocess
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from dev.demo import __main__ as demo
from dev.demo.poller import Figures
from dev.demo.processes import DemoError, Processes
from dev.demo.table import WIDTH, Screen

LONG = "张伟 " + "word " * 60 + "x" * 300


def test_its_environment_leads_commands_to_its_ingress_and_to_no_other(tmp_path: Path) -> None:
    processes = Processes(tmp_path, mode="http", retry_scale=1, allow_unsafe=False)
    try:
        env = processes.write_environment()
        names = ("ADMIN_PORT", "INGRESS_PORT", "CONSOLE_PORT", "DATABASE_URL")
        printed = subprocess.run(
            ["sh", "-c", f". {env}; echo {' '.join(f'[${name}]' for name in names)}"],
            env={"ADMIN_PORT": "1", "INGRESS_PORT": "2", "CONSOLE_PORT": "3", "DATABASE_URL": "real"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    finally:
        processes.stop()
    ingress, callback = processes.url("ingress"), processes.callback_url
    ports = [re.findall(r":(\d+)", url)[0] for url in (ingress, callback)]
    assert printed.split() == [*(f"[{port}]" for port in ports), "[]", "[]"]


def shown(*, terminal: bool) -> str:
    """What a screen prints of a little of everything."""
    file = io.StringIO()
    screen = Screen(Console(file=file, force_terminal=terminal, width=200, _environ={"TERM": "xterm"}))
    screen.text(LONG, "bold")
    screen.folded(LONG)
    screen.rows(["userid", "name"], [("[bold]u1", LONG), (None, "张伟")])
    with screen.waiting("Kafka is starting"):
        pass
    with screen.moving(10):
        for _ in range(3):
            screen.figures(Figures(elapsed_s=99_999, pushed=10**6, answered=10**6, topics={"a": 10**6}))
    screen.summary([("lost", 3, LONG), ("equal", 0, "differences")], ["lost"])
    return file.getvalue()


def test_in_a_pipe_it_is_plain_text_of_short_lines() -> None:
    text = shown(terminal=False)
    assert "\x1b" not in text
    assert max(map(len, text.split("\n"))) <= WIDTH
    assert not re.search(r" $", text, re.M)
    assert "starting" not in text
    assert "[bold]u1" in text
    assert len(re.findall(r"pushed", text)) == 1, "one line of figures in some seconds"
    assert re.search(r"^equal +0  differences$", text, re.M)


def test_a_terminal_has_colours_and_the_figures_that_moved_are_gone_at_the_end() -> None:
    text = shown(terminal=True)
    assert "\x1b[1;31m3" in text, "what must be 0 is red"
    assert "\x1b[1;32m0" in text
    assert "comes to its end" in text


def test_what_cannot_start_is_said_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(options: object) -> int:
        raise DemoError("Java 17 is missing")

    monkeypatch.setattr(demo, "run", fails)
    app = Typer()
    app.command()(demo.command)
    ended = CliRunner().invoke(app, ["--data-dir", str(tmp_path)])
    assert (ended.exit_code, ended.output) == (1, "Java 17 is missing\n")


def test_a_demo_is_its_owners_alone(tmp_path, monkeypatch):
    """Its ``env`` holds credentials, and the console's password; its databases people."""

    def run(options):
        (options.folder / "env").touch()
        (options.folder / "logs").mkdir()
        return 0

    monkeypatch.setattr(demo, "run", run)
    before = os.umask(0o022)
    try:
        with pytest.raises(typer.Exit):
            demo.command(data_dir=tmp_path)
    finally:
        os.umask(before)
    [folder] = (tmp_path / "demo").iterdir()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {folder.name: 0o700, "env": 0o600, "logs": 0o700}
