"""Processes of ``dingbridge`` forked from one that has imported everything already.

Each command would import for longer than it works (half a second of CPU, most of it SQLAlchemy), hundreds of
times in a run of the tests. What is forked is a process like any other: own pid, environment, folder, exit
code; only ``bin/dingbridge`` and its imports were done before.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

_MODULES = (
    *(
        f"bridge.cli.{name}"
        for name in ("approvals", "callback", "consume", "dlq", "journal", "replay", "resync")
    ),
    *("bridge.cli.topics", "bridge.telemetry", "bridge.topics", "aiosqlite", "alembic.command", "asyncpg"),
    *("consumers.address_sync", "consumers.approval", "consumers.forward", "consumers.replay"),
    *("consumers.runtime.service", "rich.progress", "rich.table", "sqlalchemy.ext.asyncio"),
)


class Warm:
    """The client's side: starts the process that forks, which ends with this one. Threads may share it."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="dingbridge-warm-")
        self._address = str(Path(self._folder.name) / "s")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self._address)
        listening.listen(64)
        self._server = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()", str(listening.fileno())],
            stdin=subprocess.PIPE,  # its end is the server's end
            pass_fds=[listening.fileno()],
            cwd=Path(__file__).parents[2],
        )
        listening.close()

    def stop(self) -> None:
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait(30)
        self._folder.cleanup()

    def run(
        self, arguments: list[str], *, env: Mapping[str, str], cwd: Path, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """``dingbridge <arguments>`` to its end. Raises ``subprocess.TimeoutExpired`` after killing it."""
        until = time.monotonic() + timeout_s
        request = json.dumps({"arguments": arguments, "env": dict(env), "cwd": str(cwd)}).encode()
        with (
            Path(os.devnull).open("rb") as nothing,
            TemporaryFile() as out,
            TemporaryFile() as err,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(self._address)
            fds = [nothing.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(connection, [len(request).to_bytes(4, "big")], fds)
            connection.sendall(request)
            with connection.makefile("r", encoding="ascii") as answers:
                pid = int(answers.readline())
                connection.settimeout(max(0.1, until - time.monotonic()))
                try:
                    code = int(answers.readline())
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(arguments, timeout_s, _read(out), _read(err)) from None
            return subprocess.CompletedProcess(["dingbridge", *arguments], code, _read(out), _read(err))


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")


_shared: Warm | None = None
_starting = threading.Lock()


def warm() -> Warm:
    """The one of this process; made when first asked for."""
    global _shared
    with _starting:
        if _shared is None:
            _shared = Warm()
            atexit.register(_shared.stop)
    return _shared


def _serve(listening: socket.socket) -> dict[str, object] | None:
    """Forks for each request until standard input ends. Returns twice: in a fork with its request."""
    children: dict[int, socket.socket] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        ready, _, _ = select.select([0, woken, listening], [], [])
        if 0 in ready:
            return None
        if woken in ready:
            os.read(woken, 1024)
            for pid in list(children):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    with children.pop(pid) as connection, contextlib.suppress(OSError):
                        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        if listening in ready:
            connection, _ = listening.accept()
            size, fds, _, _ = socket.recv_fds(connection, 4, 3)
            pid = os.fork()
            if pid:
                for fd in fds:
                    os.close(fd)
                children[pid] = connection
                connection.sendall(b"%d\n" % pid)
                continue
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with connection, connection.makefile("rb") as file:
                request: dict[str, object] = json.loads(file.read(int.from_bytes(size, "big")))
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
                os.close(fd)
            for other in (woken, wake):
                os.close(other)
            for other in children.values():
                other.close()
            listening.close()
            return request


def main() -> None:
    for module in _MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        return
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    sys.argv = ["dingbridge", *request["arguments"]]  # type: ignore[misc]
    from bridge.cli import main as dingbridge

    dingbridge()
