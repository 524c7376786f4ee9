"""The programs of ``examples/``, started by the very commands of ``examples/README.md``."""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.contract.toolchain import EXAMPLES, need, run
from tests.support.processes import Process

LANGUAGES: Final = ("Node", "Java", "Go", "Python")

PROGRAMS: Final = {
    "Node": ("node", "npm"),
    "Java": ("mvn", "javac"),
    "Go": ("go",),
    "Python": (),
}


@dataclass(frozen=True)
class Example:
    """One program: what makes it ready, and what starts it."""

    language: str
    setup: tuple[str, ...]
    command: str

    @property
    def folder(self) -> Path:
        return EXAMPLES / self.language.lower()

    def make_ready(self) -> None:
        """Runs the commands above its start. Fails in words where a tool is missing."""
        need(*PROGRAMS[self.language])
        run(["bash", "-euc", "\n".join(self.setup)], self.folder)

    def start(self, log: Path, env: Mapping[str, str]) -> Process:
        """Starts it; ``log`` gets what it prints."""
        return Process(
            self.language, shlex.split(self.command), log=log, env={**os.environ, **env}, cwd=self.folder
        )


@cache
def example(language: str) -> Example:
    """The commands under this language's heading."""
    change, *setup, command = block("sh", f"## {language}\n").splitlines()
    assert change == f"cd examples/{language.lower()}"
    return Example(language, tuple(setup), command)


def block(kind: str, after: str) -> str:
    """The page's first block of code of this kind after a text."""
    page = (EXAMPLES / "README.md").read_text("utf-8")
    found = re.search(rf"```{kind}\n(.*?)```", page[page.index(after) :], re.DOTALL)
    assert found is not None, f"no {kind} after {after!r}"
    return found[1]
