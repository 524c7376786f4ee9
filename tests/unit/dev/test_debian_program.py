"""scripts/debian-program: a program out of a Debian package, kept in the cache."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "debian-program"


def _command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_cache_that_was_moved_still_has_the_program(tmp_path: Path) -> None:
    """Its path may go: a cache of CI, or of a worktree that shares another's."""
    tools = tmp_path / "tools"
    _command(tools, "apt-get", "touch its.deb")
    _command(tools, "its", "echo it runs")
    _command(tools, "dpkg-deb", f'mkdir -p "$3/usr/bin"; cp {tools}/its "$3/usr/bin"')

    def said(cache: Path) -> str:
        env = {"PATH": f"{tools}:{os.environ['PATH']}", "DINGBRIDGE_CACHE": str(cache)}
        command = [SCRIPT, "its-program", "usr/bin/its", "ITS", "its"]
        program = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()
        return subprocess.run([program], capture_output=True, text=True, check=True).stdout

    assert said(tmp_path / "cache") == "it runs\n"
    (tmp_path / "cache").rename(tmp_path / "moved")
    assert said(tmp_path / "moved") == "it runs\n"
