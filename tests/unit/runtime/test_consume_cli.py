import sys

import pytest

from bridge.cli.consume import _print

TABLES = [("employees", ["userid", "name"], [("u1", "王[b]小明\x1b[31m\n"), ("u2", None)])]


def test_in_a_pipe_tables_are_tab_separated_lines(capsys: pytest.CaptureFixture[str]) -> None:
    _print([("employees", ["userid", "name"], [("u1", "a\tb\nc"), ("u2", None)])])
    assert capsys.readouterr().out == "# employees\nuserid\tname\nu1\ta b c\nu2\t\n"


def test_on_a_terminal_they_are_drawn_with_values_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _print(TABLES)
    out = capsys.readouterr().out
    assert "employees" in out
    assert "王[b]小明" in out
    assert "\x1b[31m" not in out, "a value cannot command the terminal"


def test_a_consumer_without_tables_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _print([])
    assert "shows no tables" in capsys.readouterr().out
