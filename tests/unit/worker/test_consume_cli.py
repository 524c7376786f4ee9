import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dingbridge.cli.consume import _print
from tests.support.waiting import eventually

TABLES = [("employees", ["userid", "name"], [("u1", "王[b]小明\x1b[31m\n"), ("u2", None)])]


def test_in_a_pipe_tables_are_tab_separated_lines(capsys: pytest.CaptureFixture[str]) -> None:
    _print([("employees", ["userid", "name"], [("u1", "a\tb\nc"), ("u2", None)])], as_json=False)
    assert capsys.readouterr().out == "# employees\nuserid\tname\nu1\ta b c\nu2\t-\n"


def test_on_a_terminal_they_are_drawn_with_values_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _print(TABLES, as_json=False)
    out = capsys.readouterr().out
    assert "employees" in out
    assert "王[b]小明" in out
    assert "\x1b[31m" not in out, "a value cannot command the terminal"


def test_for_machines_each_row_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    _print([("employees", ["userid"], [("u1",)])], as_json=True)
    assert capsys.readouterr().out == '{"table":"employees","userid":"u1"}\n'


def test_a_consumer_without_tables_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _print([], as_json=False)
    assert "shows no tables" in capsys.readouterr().err


ENDING = """
import asyncio, threading
from dingbridge.cli import consume
from dingbridge.errors import BridgeError
from dingbridge.settings import ConsumerSettings
from dingbridge.worker import service

consume.LEFT_BEHIND_S = 0.05
consume._load = lambda name: (None, ConsumerSettings.load())
kept = []


async def deaf():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


class Service:
    def __init__(self, *_):
        pass

    async def run(self, handle_signals):
        # asyncio itself holds no task: it would be collected
        kept[:] = map(asyncio.create_task, (deaf(), asyncio.to_thread(threading.Event().wait)))
        await asyncio.sleep(0.01)
        raise BridgeError("the words of the error")


service.ConsumerService = Service
consume.command("billing", show=False)
"""


def test_the_process_ends_whatever_a_handler_has_left_behind() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1, ended.stderr
    assert "consumer.left_behind" in ended.stderr
    assert "the words of the error" in ended.stderr


RELOADED = """
import sys, threading
with open({log!r}, "a") as log:
    log.write("{version}\\n")
if "{version}" == "fails":
    sys.exit(3)
threading.Event().wait()
"""
PARENT = "import sys; from pathlib import Path; from dingbridge.cli.reload import run_and_reload\n" + (
    "sys.exit(run_and_reload([sys.executable, '-IS', sys.argv[1]], Path(sys.argv[1]).parent))"
)


async def test_with_reload_a_change_starts_it_again_and_a_stop_ends_both(tmp_path: Path) -> None:
    script, log, said = tmp_path / "script.py", tmp_path / "log", tmp_path / "said"

    async def written(version: str) -> None:
        script.write_text(RELOADED.format(log=str(log), version=version))
        await runs(version)

    async def runs(version: str) -> None:
        await eventually(lambda: log.exists() and log.read_text().splitlines()[-1:] == [version])

    script.write_text(RELOADED.format(log=str(log), version="first"))
    command = [sys.executable, "-c", PARENT, str(script)]
    parent = await asyncio.create_subprocess_exec(*command, stderr=said.open("wb"))
    try:
        await runs("first")
        await written("fails")
        await eventually(lambda: "ended with exit code 3" in said.read_text())
        await written("third")
        parent.terminate()
        assert await parent.wait() == 128 + signal.SIGTERM
    finally:
        if parent.returncode is None:
            parent.kill()
    assert log.read_text().split() == ["first", "fails", "third"]
