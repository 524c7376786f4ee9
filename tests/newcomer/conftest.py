"""A running demo, for the tests of it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dingbridge.simulator.kafka.ports import answers
from tests.support.processes import environment, wait_until

ROOT = Path(__file__).parents[2]


class Demo:
    """One running demo in a session of its own."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        self.folder = folder
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dev.demo", *arguments],
                cwd=folder,
                env=environment(
                    {name: os.environ[name] for name in DOCKER if name in os.environ},
                    {"PYTHONPATH": str(ROOT), **env},  # its folder is another one, and dev/ is in no wheel
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def wait_for(self, words: str) -> None:
        def said() -> bool:
            assert self.process.poll() is None or words in self.text, self.text
            return words in self.text

        wait_until(said, 240, f"{words!r} in the demo's output")

    def end(self) -> int:
        return self.process.wait(300)

    def left_running(self) -> list[str]:
        """Processes that work in the demo's folder, and addresses that it named and that still answer."""
        left = []
        for process in psutil.process_iter(["pid", "name", "cwd"]):
            if (process.info["cwd"] or "").startswith(str(self.folder)) and process.pid != self.process.pid:
                left.append(f"{process.info['name']} ({process.pid})")
        ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", self.text)}
        return left + [f"port {port}" for port in sorted(ports) if answers("127.0.0.1", port)]


DOCKER = ("DOCKER_HOST", "DINGBRIDGE_CACHE", "TESTCONTAINERS_CONNECTION_MODE", "TESTCONTAINERS_HOST_OVERRIDE")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(*arguments: str, **env: str) -> Demo:
        started.append(Demo(tmp_path, *arguments, **env))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
