"""Running ``dingbridge`` commands as real processes, which never outlive their test."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

from dev.servers import GuardedProcess, free_port
from tests.support.waiting import PATIENCE_S, eventually, wait_until
from tests.support.warm import fits, warm

__all__ = ["Process", "Processes", "command", "environment", "eventually", "free_port", "wait_until"]

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""What a process inherits of the environment of the test run; the rest is said by the test."""


def command(*arguments: str) -> list[str]:
    """The command line of ``dingbridge <arguments>`` in this virtual environment."""
    return [str(Path(sys.executable).with_name("dingbridge")), *arguments]


def environment(*layers: Mapping[str, str]) -> dict[str, str]:
    """A whole environment: the bare necessities, then each of ``layers`` on top."""
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    env |= {"PYTHONUNBUFFERED": "1", "LOG_FORMAT": "json"}
    for layer in layers:
        env |= layer
    return env


class Process(GuardedProcess):
    """One running command: ``pid``, ``kill()``, ``pause()``, ``resume()``, ``stop()``, ``wait(timeout_s)``,
    ``poll()``, ``running``, ``log_tail(lines)``."""

    def __init__(
        self, name: str, arguments: list[str], *, log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        super().__init__(arguments, log=log, env=env, cwd=cwd)
        self.name = name

    def log_text(self) -> str:
        """All it has written so far, both streams."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, text: str, timeout_s: float = PATIENCE_S) -> None:
        """Waits until ``text`` is in its log; fails at once if it ends before."""

        def seen() -> bool:
            if text in self.log_text():
                return True
            if not self.running:
                raise AssertionError(
                    f"{self.name} ended ({self.poll()}) without {text!r}:\n{self.log_tail(40)}"
                )
            return False

        wait_until(seen, timeout_s, f"{text!r} in the log of {self.name}")


class ForkedProcess(Process):
    """The same, forked from a process that has imported everything."""

    def __init__(
        self, name: str, arguments: list[str], *, log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.name, self.command, self.log = name, ["dingbridge", *arguments], log
        self._stop_signal = signal.SIGTERM
        with log.open("ab") as output:
            self._guard = warm().start(arguments, env=env, cwd=cwd, out=output, err=output)
        self.pid = self._guard.pid


class Processes:
    """Starts processes for one test, each with a log file of its own, and stops all of them at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Process] = []
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, *arguments: str, env: Mapping[str, str], name: str | None = None) -> Process:
        """Starts ``dingbridge <arguments>`` with ``environment(env)``, in the test's folder."""
        name = name or "-".join(arguments) or "dingbridge"
        log = self.folder / f"{len(self.all) + 1:02}-{name.replace('/', '_')[:60]}.log"
        whole = environment(env)
        process: Process
        if fits(whole):
            process = ForkedProcess(name, list(arguments), log=log, env=whole, cwd=self.folder)
        else:
            process = Process(name, command(*arguments), log=log, env=whole, cwd=self.folder)
        self.all.append(process)
        return process

    def run(
        self, *arguments: str, env: Mapping[str, str], timeout_s: float = 2 * PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``dingbridge <arguments>`` to its end; ``returncode``, ``stdout``, ``stderr``."""
        whole = environment(env)
        if fits(whole):
            return self._run_forked(list(arguments), whole, timeout_s)
        return subprocess.run(
            command(*arguments),
            env=whole,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def _run_forked(
        self, arguments: list[str], env: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        with TemporaryFile() as out, TemporaryFile() as err:
            process = warm().start(arguments, env=env, cwd=self.folder, out=out, err=err)
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                raise
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess(
                ["dingbridge", *arguments], code, out.read().decode(), err.read().decode()
            )

    def stop_all(self) -> None:
        """SIGTERM to all, SIGKILL to those that do not heed it within 15 s."""
        for process in self.all:
            process.terminate()
        for process in reversed(self.all):
            process.stop()

    def tails(self, lines: int = 30) -> str:
        """The end of every log, for the report of a failed test."""
        return "\n".join(
            f"── {p.name} (pid {p.pid}, {'runs' if p.running else f'ended: {p.poll()}'})\n{p.log_tail(lines)}"
            for p in self.all
        )
