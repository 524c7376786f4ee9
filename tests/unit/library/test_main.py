"""The command line where its output takes no more: a reader that went away, a disk that is full."""

import subprocess
import sys
from pathlib import Path

import pytest

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
