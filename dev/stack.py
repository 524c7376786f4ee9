"""A whole bridge with its console, for a browser to look at: simulator, ingress, consumers, System A.

``forward-a`` hands approvals and changes of people to System A. Tests look at it (``tests/console``), and
``dev/pictures.py`` takes pictures of it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from dev.servers import GuardedProcess, free_port
from dev.system_a import SystemA
from dingbridge.cli.terminal import open_here, post_json
from dingbridge.errors import ServerStartError
from dingbridge.settings import SAMPLE_CREDENTIALS

PASSWORDS: Final = {role: f"a password of a {role}" for role in ("viewer", "reader", "operator")}
"""The console's users: one for each role, named as it."""
CONSUMERS: Final = ("address-sync", "approval", "outbound", "forward-a")
LISTENERS: Final = ("ingress", *CONSUMERS)
READY_WITHIN_S: Final = 180.0

_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


class Stack:
    """Everything, running. ``url`` is the console's, ``callback_url`` the ingress's, ``env`` the console's
    environment, by which commands reach the same bridge."""

    def __init__(
        self,
        folder: Path,
        kafka_env: Mapping[str, str],
        *,
        users: int = 60,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """``kafka_env`` leads to a Kafka; ``users`` is the size of the simulated company, ``own`` what the
        environment of single processes has instead. Raises ``ServerStartError`` when a part does not come
        up."""
        self.folder = folder
        self._own = own or {}
        self.system_a = SystemA()
        self.processes: dict[str, GuardedProcess] = {}
        ports = {name: free_port() for name in ("simulator", "callback", "console", *LISTENERS)}
        self.url = f"http://127.0.0.1:{ports['console']}"
        self.callback_url = f"http://127.0.0.1:{ports['callback']}/callback"
        self.simulator_url = f"http://127.0.0.1:{ports['simulator']}"
        listeners = {name: f"http://127.0.0.1:{ports[name]}" for name in LISTENERS}
        self.env = {
            **SAMPLE_CREDENTIALS,
            **kafka_env,
            "DATA_DIR": str(folder / "data"),
            "DINGTALK_API_BASE": self.simulator_url,
            "SIMULATOR_URL": self.simulator_url,
            "SIMULATOR_PORT": str(ports["simulator"]),
            "SIMULATOR_USERS": str(users),
            "INGRESS_HOST": "127.0.0.1",
            "INGRESS_PORT": str(ports["callback"]),
            "JOURNAL_ALLOW_UNSAFE": "1",
            "TOPIC_PARTITIONS": "2",
            **self.system_a.settings(folder, "bpms_instance_change", "user_modify_org"),
            "ADMIN_PORT": str(ports["ingress"]),
            "CONSOLE_PORT": str(ports["console"]),
            "CONSOLE_LISTENERS": ",".join(f"{name}={url}" for name, url in listeners.items()),
        }
        try:
            self._start("simulator")
            self._start("ingress")
            for name in CONSUMERS:
                self._start("consume", name, ADMIN_PORT=str(ports[name]))
            for role, password in PASSWORDS.items():
                self.dingbridge("console", "set-password", role, "--role", role, said=password + "\n")
            self._start("console")
            self._wait("simulator", lambda: _answers(f"{self.simulator_url}/_sim/health"))
            for name, url in listeners.items():
                self._wait(name, lambda url=url: _answers(f"{url}/readyz"))  # type: ignore[misc]
            self._wait("console", lambda: _answers(f"{self.url}/healthz"))
            self.dingbridge("callback", "register", "--url", self.callback_url)
        except BaseException:
            self.stop()
            raise

    def dingbridge(self, *arguments: str, said: str = "", as_: str = "") -> str:
        """What the command prints, given ``said`` as its standard input, with the environment of the process
        ``as_``. Raises ``ServerStartError``."""
        done = subprocess.run(
            [_command(), *arguments],
            env=self._environment(**self._own.get(as_, {})),
            cwd=self.folder,
            input=said,
            capture_output=True,
            text=True,
            timeout=READY_WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise ServerStartError(f"dingbridge {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def simulate(self, path: str, body: Mapping[str, object]) -> Any:
        """A request to the simulator's own interface, as ``act`` or ``rate``; see docs/guide/simulator.md."""
        return post_json(f"{self.simulator_url}/_sim/{path}", body, "simulator", "see its log")

    def tails(self, lines: int = 15) -> str:
        """The end of every log."""
        return "\n".join(
            f"── {name} (exit code {process.poll()}; None: it runs)\n{process.log_tail(lines)}"
            for name, process in self.processes.items()
        )

    def stop(self) -> None:
        """Ask all to end, and wait for it."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.stop()
        self.system_a.stop()

    def _start(self, *arguments: str, **own: str) -> None:
        name = arguments[-1]
        self.processes[name] = GuardedProcess(
            [_command(), *arguments],
            log=self.folder / "logs" / f"{name}.log",
            env=self._environment(**self._own.get(name, {}), **own),
            cwd=self.folder,
        )

    def _environment(self, **own: str) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {**inherited, "PYTHONUNBUFFERED": "1", "LOG_FORMAT": "json", **self.env, **own}

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not ready():
            if not self.processes[name].running or time.monotonic() > deadline:
                raise ServerStartError(f"{name} is not ready:\n{self.processes[name].log_tail(15)}")
            time.sleep(0.1)


def _command() -> str:
    return str(Path(sys.executable).with_name("dingbridge"))


def _answers(url: str) -> bool:
    try:
        with open_here(url, 5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
