import asyncio
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from dingbridge.cli import consume
from dingbridge.cli.consume import _print
from dingbridge.errors import BridgeError
from dingbridge.settings import ConsumerSettings

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


def forked(target: Callable[..., object], said: Path, *arguments: object) -> ForkProcess:
    """``target`` in a process that has imported everything already; what it says on stderr is in ``said``."""

    def run() -> None:
        with said.open("w", buffering=1) as sys.stderr:
            os.dup2(sys.stderr.fileno(), 2)
            sys.exit(target(*arguments))

    process = get_context("fork").Process(target=run)
    process.start()
    return process


async def deaf() -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def leaving(left: str, words: str) -> None:
    kept = []  # asyncio itself holds no task: it would be collected

    class Service:
        def __init__(self, *_: object) -> None: ...

        async def run(self, handle_signals: bool) -> None:
            kept.append(
                asyncio.create_task(deaf() if left == "task" else asyncio.to_thread(threading.Event().wait))
            )
            await asyncio.sleep(0.01)
            if words:
                raise BridgeError(words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(consume, "LEFT_BEHIND_S", 0.05)
        patch.setattr(consume, "_load", lambda name: (None, ConsumerSettings.load()))
        patch.setattr("dingbridge.worker.service.ConsumerService", Service)
        consume.command("billing", show=False)


@pytest.mark.parametrize(("left", "words"), [("task", ""), ("thread", "the words of the error")])
def test_the_process_ends_whatever_a_handler_has_left_behind(tmp_path: Path, left: str, words: str) -> None:
    process = forked(leaving, said := tmp_path / "said", left, words)
    process.join(120)
    assert process.exitcode == (1 if words else 0), said.read_text()
    assert "consumer.left_behind" in said.read_text()
    assert words in said.read_text()
