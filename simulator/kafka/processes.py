"""A child process that never outlives the one that started it, unless it is asked to.

Each child runs under ``guard.py``, a few kilobytes of Python that holds one end of a pipe: when this
process ends in whatever way, the pipe closes and the guard stops the child. ``pid`` is the child's own,
so that SIGKILL and SIGSTOP hit the server and not its guard.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")


class GuardedProcess:
    """One running child. ``log`` receives its standard output and error, appended."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: str | None = None,
        scratch: Path | None = None,
    ) -> None:
        """Starts it. ``env`` is the whole environment (ours, if None); ``user`` is a system user to run
        as, for which we must be root; ``scratch`` is a folder to remove if we die before the child.
        Raises ``OSError`` if the command cannot be started."""
        self.command = list(command)
        self.log = log
        self._stop_signal = stop_signal
        log.parent.mkdir(parents=True, exist_ok=True)
        guard = [sys.executable, "-I", str(GUARD), "process"]
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [*guard, str(int(stop_signal)), user or "-", str(scratch or "-"), "--", *self.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,  # Ctrl-C reaches the starter alone, which then stops in order
            )
        first = b""
        if self._guard.stdout is not None:
            with self._guard.stdout as pipe:
                first = pipe.readline()
        if not first:
            self._guard.wait()
            raise OSError(f"cannot start {self.command[0]}: {self.log_tail(1) or 'no output'}")
        self.pid = int(first)

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        return self._guard.poll()

    @property
    def running(self) -> bool:
        return self.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Waits for its end and returns the exit code. Raises ``TimeoutError``."""
        try:
            return self._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"{self.command[0]} (pid {self.pid}) still runs after {timeout_s:g} s"
            ) from None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the child, if it still runs."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to stop, and does not wait."""
        self.send(self._stop_signal)

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.send(signal.SIGKILL)
        self._guard.wait()
        self._close()

    def pause(self) -> None:
        """SIGSTOP: it keeps its memory and connections, and does nothing. Waits until it has stopped: on a
        busy machine its other threads go on until the one that takes the signal has its turn."""
        self.send(signal.SIGSTOP)
        while self.running and _state(self.pid) not in "TZ":
            time.sleep(0.001)

    def resume(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def stop(self, timeout_s: float = 15.0) -> int:
        """Asks it to stop, kills it after ``timeout_s``; returns the exit code. Fine to call twice."""
        self.send(self._stop_signal)
        self.send(signal.SIGCONT)
        try:
            code = self._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            code = self._guard.wait()
        self._close()
        return code

    def keep(self) -> None:
        """Lets it go on after this process ends. Who wants it gone then sends the stop signal to ``pid``."""
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(b"k")
                self._guard.stdin.flush()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that it wrote."""
        return tail(self.log, lines)

    def _close(self) -> None:
        if self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()


def _state(pid: int) -> str:
    """A process's state in one letter, T when it is stopped; empty when it is gone."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return ""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1]


def tail(path: Path, lines: int) -> str:
    """The last ``lines`` lines of a text file (of its last 64 KiB); empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65536))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
