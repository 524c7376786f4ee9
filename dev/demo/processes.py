"""The demo's processes: a Kafka, the simulator, the ingress and the consumers, on free ports of this machine.

Starts, kills and stops them, and knows their addresses and the environment that they share. Everything ends
with ``stop``, or with this process however that ends (``simulator/kafka/guard.py``). What is done with them
is ``story``'s business.
"""

import json
import math
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Literal, TypeAlias

from dev.demo.oa import OWNERS
from dev.servers import GuardedProcess, KafkaServer, free_port, start_kafka
from dev.system_a import SystemA
from dingbridge.console.settings import ConsoleSettings
from dingbridge.errors import BridgeError, ServerStartError
from dingbridge.settings import SAMPLE_CREDENTIALS, ConsumerSettings, IngressSettings, KafkaSettings
from dingbridge.simulator.profile import Profile

CONSUMERS: Final = ("address-sync", "approval", "outbound", "forward-a")
SERVICES: Final = ("simulator", "ingress", *CONSUMERS, "console")
FOR_SYSTEM_A: Final = ("user_*", "org_dept_*", "bpms_instance_change")
"""EventTypes that ``forward-a`` hands to System A."""
READY_WITHIN_S: Final = 120.0
SETTLE_S: Final = math.ceil(Profile.parse("reality").late_ms / 1000) + 1
"""``OUTBOUND_SETTLE_S`` of the demo: no read of its DingTalk is later."""
GAP_S: Final = 1
"""``STREAM_GAP_S`` of the demo, so that its short kill is a gap."""
STOP_WITHIN_S: Final = 15.0

Mode: TypeAlias = Literal["http", "stream"]
APP_CREDENTIALS: Final = {
    name: SAMPLE_CREDENTIALS[name] for name in ("DINGTALK_APP_KEY", "DINGTALK_APP_SECRET", "DINGTALK_CORP_ID")
}
"""All that Stream mode needs."""
CONNECTIONS: Final[int] = IngressSettings.model_fields["stream_connections"].default

_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""What the processes get of this one's environment. Nothing else: the settings of a real bridge that stand
in the caller's shell must neither break the demo nor be touched by it."""

_HEALTH: Final = {"simulator": "/_sim/health", "console": "/healthz"}


class DemoError(BridgeError):
    """A part of the demo did not start, or ended by itself; the message holds the last lines of its log."""


class Processes:
    """One demo's processes. ``folder`` receives everything that is written, and stays."""

    def __init__(
        self, folder: Path, *, mode: Mode, retry_scale: float, allow_unsafe: bool, **settings: str
    ) -> None:
        """``retry_scale`` multiplies DingTalk's retry delays; ``allow_unsafe`` lets the journal stand on a
        file system that does not outlive the machine or container; every process has ``settings``, too."""
        self.mode = mode
        self.folder = folder
        self.logs = folder / "logs"
        self._ports = {name: free_port() for name in (*SERVICES, "callback")}
        self._processes: dict[str, GuardedProcess] = {}
        self._killed: set[str] = set()
        self._kafka: KafkaServer | None = None
        self._env = {
            **(SAMPLE_CREDENTIALS if mode == "http" else APP_CREDENTIALS),
            "DINGTALK_MODE": mode,
            "DINGTALK_API_BASE": self.url("simulator"),
            "SIMULATOR_URL": self.url("simulator"),
            "DATA_DIR": str(folder),
            "TOPIC_PARTITIONS": "1",
            **settings,
        }
        if mode == "stream":
            # who left while no connection was open is found by a full sync: in seconds here, as in days there
            self._env["MAX_LEAVERS"] = "50%"
        owners = folder / "owners.toml"
        owners.write_text(OWNERS, encoding="utf-8")
        self._env |= {"OUTBOUND_OWNERS": str(owners), "OUTBOUND_SETTLE_S": str(SETTLE_S)}
        self.system_a = SystemA()
        self._env |= self.system_a.settings(folder, *FOR_SYSTEM_A)
        self.console_user, self.console_password = "demo", secrets.token_urlsafe(12)
        listeners = ",".join(f"{name}={self.url(name)}" for name in ("ingress", *CONSUMERS))
        public = {"INGRESS_HOST": "127.0.0.1", "INGRESS_PORT": str(self._ports["callback"])}
        self._own = {
            "simulator": {
                "SIMULATOR_PORT": str(self._ports["simulator"]),
                "SIMULATOR_MODE": mode,
                "SIMULATOR_RETRY_SCALE": str(retry_scale),
            },
            "ingress": {
                **public,
                "JOURNAL_ALLOW_UNSAFE": str(int(allow_unsafe)),
                "STREAM_GAP_S": str(GAP_S),
            },
            "console": {
                **public,  # where its doctor pushes to, and its copies for curl lead
                "CONSOLE_PORT": str(self._ports["console"]),
                "CONSOLE_LISTENERS": listeners,
                # for its doctor, and for commands that ask the ingress
                "ADMIN_PORT": str(self._ports["ingress"]),
                "JOURNAL_ALLOW_UNSAFE": str(int(allow_unsafe)),
            },
        }

    # -- where everything is

    def url(self, name: str) -> str:
        """Base address of simulator or console, or of the private listener of ingress or consumer."""
        return f"http://127.0.0.1:{self._ports[name]}"

    @property
    def callback_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['callback']}/callback"

    @property
    def bootstrap(self) -> str:
        return self._env["KAFKA_BOOTSTRAP_SERVERS"]

    @property
    def kafka_settings(self) -> KafkaSettings:
        """For a client of our own; the environment of the caller has no say in it."""
        return KafkaSettings.model_construct(kafka_bootstrap_servers=self.bootstrap)

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    # -- starting and stopping

    def start_kafka(self, how: Literal["auto", "docker", "jars"]) -> str:
        """Returns how it runs, in a phrase. Raises ``ServerStartError``: what is missing, with the remedy."""
        # "local": a cluster named in the environment is somebody's real one
        try:
            self._kafka = start_kafka(self.folder / "kafka", how="local" if how == "auto" else how)
        except ServerStartError as error:
            if how != "docker":
                raise
            raise ServerStartError(f"{error}; start Docker, or use --how jars (Java 17 and Maven)") from error
        self._env["KAFKA_BOOTSTRAP_SERVERS"] = self._kafka.bootstrap
        return self._kafka.how

    def start(self, name: str) -> None:
        """Starts one of ``SERVICES``; its log is ``logs/<name>.log``."""
        arguments = ["consume", name] if name in CONSUMERS else [name]
        own = {"ADMIN_HOST": "127.0.0.1", "ADMIN_PORT": str(self._ports[name]), **self._own.get(name, {})}
        self._killed.discard(name)
        self._processes[name] = self._spawn(name, arguments, own)

    def wait_until_ready(self, name: str) -> None:
        """Raises ``DemoError`` when it ends instead, or takes more than ``READY_WITHIN_S``."""
        path = _HEALTH.get(name, "/readyz")
        self._wait(name, lambda: _answers(self._ports[name], path))

    def register(self) -> None:
        """``dingbridge callback register``, as an operator would. Raises ``DemoError``."""
        admin = {"ADMIN_PORT": str(self._ports["ingress"])}  # it asks there whether the URL leads to it
        process = self._spawn("callback", ["callback", "register", "--url", self.callback_url], admin)
        try:
            code = process.wait(READY_WITHIN_S)
        except TimeoutError as error:
            process.stop(0)
            raise DemoError(f"the callback is not registered after {READY_WITHIN_S:g} s") from error
        if code:
            raise DemoError(f"the callback could not be registered:\n{_indented(process.log_tail())}")

    def add_console_user(self) -> None:
        """``dingbridge console set-password``, as an operator would. Raises ``DemoError``."""
        done = subprocess.run(
            [str(_command()), "console", "set-password", self.console_user, "--role", "operator"],
            env=self._environment({}),
            cwd=self.folder,
            input=self.console_password,
            capture_output=True,
            text=True,
            timeout=READY_WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise DemoError(f"the console's user could not be added:\n{_indented(done.stderr)}")

    def wait_until_connected(self) -> None:
        """Waits until the ingress has its ``CONNECTIONS`` to DingTalk open. Raises ``DemoError``."""
        self._wait("ingress", lambda: self._connections() >= CONNECTIONS)

    def set_rate(self, per_second: float) -> None:
        """So many things per second happen in the company from now on, while it answers."""
        body = json.dumps({"per_second": per_second})
        _asked(self._ports["simulator"], "/_sim/rate", "POST", body)

    def kill(self, name: str) -> None:
        """SIGKILL, and waits until it is gone."""
        self._killed.add(name)
        self._processes[name].kill()

    def ended(self) -> list[str]:
        """One text for each process that ended without our doing."""
        return [
            f"{name} ended by itself (exit code {process.poll()}); its last words:\n"
            f"{_indented(process.log_tail(8))}"
            for name, process in self._processes.items()
            if name not in self._killed and not process.running
        ]

    def stop(self) -> list[str]:
        """Stops all, Kafka last. Fine to call twice.

        Returns a text for each that did not end cleanly when it was asked to.
        """
        running = {name: p for name, p in self._processes.items() if p.running}
        for process in running.values():
            process.terminate()
        faults = []
        for name, process in running.items():
            try:
                code = process.wait(STOP_WITHIN_S)
            except TimeoutError:
                code = process.stop(0)
            if code:
                faults.append(f"{name} ended with code {code} when it was asked to stop; see its log")
        if self._kafka is not None:
            self._kafka.stop()
        self.system_a.stop()
        return faults

    # -- for people who look further

    def write_environment(self) -> Path:
        """Writes ``env``, to be sourced by a shell: from then on ``dingbridge`` speaks to this processes."""
        path = self.folder / "env"
        ours = {
            **self._env,
            **{
                name: self._own["console"][name]
                for name in (
                    "INGRESS_HOST",
                    "INGRESS_PORT",
                    "ADMIN_PORT",
                    "JOURNAL_ALLOW_UNSAFE",
                    "CONSOLE_LISTENERS",
                )
            },
        }
        foreign = {
            name
            for settings in (IngressSettings, ConsumerSettings, ConsoleSettings)
            for field in settings.model_fields
            for name in (field.upper(), f"{field.upper()}_FILE")
        } - ours.keys()
        lines = [
            "# The settings of this demo. As: . env",
            "# ADMIN_PORT is the ingress's; for a consumer of your own: ADMIN_PORT= dingbridge consume NAME",
            f"unset {' '.join(sorted(foreign))}",
            *(f"export {name}={shlex.quote(value)}" for name, value in ours.items()),
            f'export PATH={shlex.quote(str(_command().parent))}:"$PATH"',
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    # -- within

    def _spawn(self, name: str, arguments: list[str], own: Mapping[str, str]) -> GuardedProcess:
        command, log = [str(_command()), *arguments], self.logs / f"{name}.log"
        try:
            return GuardedProcess(command, log=log, env=self._environment(own), cwd=self.folder)
        except OSError as error:
            raise DemoError(f"{command[0]} cannot be started ({error}); run make install") from error

    def _environment(self, own: Mapping[str, str]) -> dict[str, str]:
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        return {**inherited, "PYTHONUNBUFFERED": "1", "LOG_FORMAT": "json", **self._env, **own}

    def _connections(self) -> int:
        answer = json.loads(_asked(self._ports["ingress"], "/stream") or '{"apps": {}}')
        return sum(app["connections"] for app in answer["apps"].values())

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        process, deadline = self._processes[name], time.monotonic() + READY_WITHIN_S
        while not ready():
            if not process.running:
                raise DemoError("\n".join(self.ended()))
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{name} is not ready after {READY_WITHIN_S:g} s; its last words:\n"
                    f"{_indented(process.log_tail(8))}"
                )
            time.sleep(0.05)


def _command() -> Path:
    """``dingbridge`` beside the Python that runs this."""
    return Path(sys.executable).with_name("dingbridge")


def _answers(port: int, path: str) -> bool:
    return _asked(port, path) is not None


def _asked(port: int, path: str, method: str = "GET", body: str | None = None) -> bytes | None:
    """What is answered with status 200, else None."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _indented(text: str) -> str:
    return "\n".join(f"  {line[:300]}" for line in text.splitlines()) or "  (nothing)"
