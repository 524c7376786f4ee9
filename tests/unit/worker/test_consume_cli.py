import subprocess
import sys

import pytest

from dingbridge.cli.consume import _print

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
import asyncio, sys, threading
from dingbridge.cli import consume
from dingbridge.errors import BridgeError
from dingbridge.settings import ConsumerSettings
from dingbridge.worker import service

consume.LEFT_BEHIND_S = 0.05
consume._load = lambda name: (None, ConsumerSettings.load())
_, left, words = sys.argv


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
        if left == "task":
            Service.kept = asyncio.create_task(deaf())  # asyncio itself holds no task: it would be collected
        elif left == "thread":
            Service.kept = asyncio.create_task(asyncio.to_thread(threading.Event().wait))
        await asyncio.sleep(0.01)
        if words:
            raise BridgeError(words)


service.ConsumerService = Service
consume.command("billing", show=False)
"""


@pytest.mark.parametrize("words", ["", "the words of the error"])
@pytest.mark.parametrize("left", ["task", "thread"])
def test_the_process_ends_whatever_a_handler_has_left_behind(left: str, words: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING, left, words], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == (1 if words else 0), ended.stderr
    assert "consumer.left_behind" in ended.stderr
    assert words in ended.stderr
