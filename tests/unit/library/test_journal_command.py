"""``dingbridge journal`` before it has opened anything; all else is shown by
``tests/integration/test_journal_commands.py``."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.cli import app

COMMANDS = [["stats"], ["list"], ["show", "1"], ["export"], ["retry"], ["prune"]]


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
