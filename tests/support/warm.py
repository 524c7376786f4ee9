"""Processes of ``dingbridge`` forked from one that has imported everything already.

A command imports for longer than it works (half a second of CPU, most of it SQLAlchemy), hundreds of times in
a run of the tests. What is forked is a process like any other: own pid, session, environment, folder, exit
code; only ``bin/dingbridge`` and its imports were done before. It ends with the process of the tests; the
controller of pytest-xdist has one for all its worker processes.

One thing is otherwise: an answer that disagrees with its event is asked for again after 4.3 s in all, not
after 72 s. The simulator's answers are at most 4 s late.
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
from tempfile import TemporaryDirectory
from typing import IO, NoReturn

LOOK_AGAIN_S = (0.3, 1.0, 3.0)
"""In place of 2, 10 and 60 s, as ``dingbridge.snapshots.late_answers`` has it. Their sum is longer than
``late_ms`` of the simulator, so the last look is right here, too."""

_MODULES = (
    "aiosqlite",
    "alembic.command",
    "asyncpg",
    "dingbridge.consumers.approval.cli",
    "dingbridge.cli.callback.command",
    "dingbridge.cli.consume",
    "dingbridge.cli.dlq",
    "dingbridge.ingress.admin.cli",
    "dingbridge.ingress.app",
    "dingbridge.cli.replay",
    "dingbridge.mirror.cli",
    "dingbridge.cli.topics",
    "dingbridge.logging",
    "dingbridge.kafka.topics",
    "dingbridge.consumers.address_sync",
    "dingbridge.consumers.approval",
    "dingbridge.consumers.forward",
    "dingbridge.consumers.outbound.cli.commands",
    "dingbridge.replay",
    "dingbridge.worker.service",
    "rich.progress",
    "rich.table",
    "sqlalchemy.ext.asyncio",
    "uvloop",
)


def fits(env: Mapping[str, str]) -> bool:
    """Whether a fork can stand for a process with ``env``: not where Python itself is changed at start.
    aiohttp reads what it trusts when it is imported."""
    if env.get("SSL_CERT_FILE") != os.environ.get("SSL_CERT_FILE"):
        return False
    return not any((Path(entry) / "sitecustomize.py").exists() for entry in _paths(env))


def _paths(env: Mapping[str, str]) -> list[str]:
    return [entry for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]


class Forked:
    """One process: ``pid``, ``poll()`` and ``wait(timeout)`` as ``subprocess.Popen`` has them."""

    stdin = None

    def __init__(self, arguments: list[str], connection: socket.socket) -> None:
        self._arguments = arguments
        self._connection = connection
        self._reading = threading.Lock()
        self._code: int | None = None
        with connection.makefile("r", encoding="ascii", buffering=1) as answers:
            self.pid = int(answers.readline())

    def poll(self) -> int | None:
        with self._reading:
            if self._code is None and select.select([self._connection], [], [], 0)[0]:
                self._code = int(self._connection.recv(16) or b"-9")
                self._connection.close()
            return self._code

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (timeout if timeout is not None else 1e9)
        while (code := self.poll()) is None:
            left = until - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(self._arguments, timeout or 0.0)
            with contextlib.suppress(OSError, ValueError):  # another thread has read the end
                select.select([self._connection], [], [], min(left, 1.0))
        return code


class Warm:
    """Asks the process that forks. Threads may share it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def start(
        self, arguments: list[str], *, env: Mapping[str, str], cwd: Path, out: IO[bytes], err: IO[bytes]
    ) -> Forked:
        """``dingbridge <arguments>`` with nothing on its standard input."""
        os.umask(mask := os.umask(0))
        given = {"arguments": arguments, "env": dict(env), "cwd": str(cwd), "umask": mask}
        request = json.dumps(given).encode()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.address)
        with Path(os.devnull).open("rb") as nothing:
            fds = [nothing.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(connection, [len(request).to_bytes(4, "big")], fds)
            connection.sendall(request)
            return Forked(arguments, connection)


_shared: Warm | None = None
_starting = threading.Lock()


def warm(address: str | None = None) -> Warm:
    """The one of this process; made when first asked for. ``address``: of a process that forks already."""
    global _shared
    with _starting:
        if _shared is None:
            _shared = Warm(address or _start_server())
    return _shared


def _start_server() -> str:
    """Start the process that forks; it ends with this one, and its forks with it. Return its address."""
    folder = TemporaryDirectory(prefix="dingbridge-warm-")
    address = str(Path(folder.name) / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        server = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()", str(listening.fileno())],
            stdin=subprocess.PIPE,  # its end is the server's end
            pass_fds=[listening.fileno()],
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )

    def stop() -> None:
        assert server.stdin
        server.stdin.close()
        server.wait(30)
        folder.cleanup()

    atexit.register(stop)
    return address


def main() -> None:
    """The process that forks, and each of its forks."""
    late_answers = importlib.import_module("dingbridge.snapshots.late_answers")  # before whoever reads it
    late_answers.LOOK_AGAIN_S = LOOK_AGAIN_S  # type: ignore[attr-defined]
    for module in _MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    os.setsid()
    os.chdir(str(request["cwd"]))
    os.umask(request["umask"])  # type: ignore[arg-type]
    env = dict(request["env"])  # type: ignore[call-overload]
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.path[1:1] = _paths(env)
    importlib.invalidate_caches()
    sys.argv = ["dingbridge", *request["arguments"]]  # type: ignore[misc]
    from dingbridge.cli.main import main as dingbridge

    dingbridge()


def _serve(listening: socket.socket) -> dict[str, object]:
    """Forks for each request, and returns in the fork with that request; ends with standard input."""
    children: dict[int, socket.socket] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        ready, _, _ = select.select([0, woken, listening], [], [])
        if 0 in ready:
            _end(children)
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
            if not pid:
                break
            for fd in fds:
                os.close(fd)
            children[pid] = connection
            connection.sendall(b"%d\n" % pid)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection, connection.makefile("rb") as file:
        request: dict[str, object] = json.loads(file.read(int.from_bytes(size, "big")))
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    for other in children.values():
        other.close()
    os.close(woken)
    os.close(wake)
    listening.close()
    return request


def _end(children: dict[int, socket.socket]) -> NoReturn:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)
