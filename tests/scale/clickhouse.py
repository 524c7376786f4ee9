"""ClickHouse in a process of its own (PyPI's ``chdb``), which takes statements until it is closed."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.scale.tools import tools
from tests.support.processes import environment

_CHILD = """
import json, sys
from chdb.session import Session

session = Session(sys.argv[1])
for line in sys.stdin:
    try:
        answer = {"text": str(session.query(json.loads(line)))}
    except Exception as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


class ClickHouse:
    """Use as a context manager. ``folder`` holds its data and its log."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "clickhouse.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(folder / "clickhouse")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment({"PYTHONPATH": str(tools())}),
            cwd=folder,
            text=True,
        )
        for statement in ("CREATE DATABASE d", "USE d", "SET output_format_json_quote_64bit_integers = 0"):
            self.run(statement)

    def __enter__(self) -> "ClickHouse":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def run(self, statement: str) -> str:
        """What ClickHouse answers. Raises ``AssertionError`` in its words where it refuses."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(statement) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"ClickHouse ended: {self._process.poll()}"
        answer: dict[str, str] = json.loads(line)
        assert "error" not in answer, f"{answer['error'][:500]}\n{statement[:500]}"
        return answer["text"]

    def rows(self, query: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(f"{query} FORMAT JSONEachRow").splitlines()]


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
