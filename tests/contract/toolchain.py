"""The tools of other languages: where they are, what is brought by them, and how a command is run."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
JUDGES: Final = Path(__file__).with_name("judges")

WITHIN_S: Final = 600.0
"""For one command: it may download, and compile with a cold cache."""

GET: Final = {
    "node": "Node 20 or newer (Debian/Ubuntu: apt-get install nodejs; macOS: brew install node)",
    "npm": "npm (Debian/Ubuntu: apt-get install npm; macOS: it comes with node)",
    "mvn": "Maven (Debian/Ubuntu: apt-get install maven; macOS: brew install maven)",
    "javac": "a JDK 17 or newer (Debian/Ubuntu: apt-get install openjdk-17-jdk; macOS: brew install openjdk)",
    "go": "Go 1.26 or newer (https://go.dev/doc/install; macOS: brew install go)",
}


def need(*programs: str) -> None:
    """Fails the test in words where one of ``programs`` is missing: nothing is skipped for want of it."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        wanted = "\n".join(f"{program} is missing: get {GET[program]}" for program in missing)
        pytest.fail(wanted, pytrace=False)


def run(command: Sequence[str], folder: Path, text: str = "", *, check: bool = True) -> str:
    """What ``command`` writes to its standard output when ``text`` is its input.

    Fails the test with all that it wrote if it ends with another code than 0, unless ``check`` is false: then
    what it wrote to both streams is returned.
    """
    done = subprocess.run(
        [*command], cwd=folder, input=text, capture_output=True, text=True, encoding="utf-8",
        timeout=WITHIN_S, check=False, env=os.environ | {"NO_COLOR": "1"},
    )  # fmt: skip
    if not check:
        return done.stdout + done.stderr
    if done.returncode:
        words = (
            f"{' '.join(command)[:300]} in {folder}: {done.returncode}\n{(done.stdout + done.stderr)[-6000:]}"
        )
        pytest.fail(words, pytrace=False)
    return done.stdout


def npm_install(folder: Path) -> None:
    """Brings what ``package-lock.json`` names, unless it is there."""
    need("node", "npm")
    lock = folder / "package-lock.json"
    installed = folder / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        run(["npm", "ci", "--no-audit", "--no-fund"], folder)
