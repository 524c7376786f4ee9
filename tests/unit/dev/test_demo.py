"""What a demo leaves on the machine."""

import os

import pytest
import typer

from dev.demo import __main__ as demo


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
