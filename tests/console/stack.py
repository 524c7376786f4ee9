"""A whole bridge for the browser to look at: Kafka, simulator, ingress, consumers, System A, the console.

System A is what ``forward-a`` hands approvals to; it takes them, or refuses each (a dead letter).
"""

import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from dev.servers.kafka_base import in_own_loop
from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.support.ingress import IngressUnderTest
from tests.support.load import event
from tests.support.processes import Processes, command, environment, free_port, wait_until
from tests.support.pusher import Pusher

ROLES: Final = ("viewer", "reader", "operator")
PASSWORD: Final = "a long password"
CONSUMERS: Final = ("address-sync", "approval", "outbound", "forward-a")


class SystemA:
    """A receiver. ``taken`` holds the ids of what it took; ``broken`` makes it refuse."""

    def __init__(self) -> None:
        self.broken = False
        self.taken: list[str] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer._lock:
                    if not outer.broken:
                        outer.taken.append(json.loads(body)["id"])
                    status = 422 if outer.broken else 200
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()


class Stack:
    """Everything, running. ``url`` is the console's."""

    def __init__(self, folder: Path, kafka_env: dict[str, str]) -> None:
        self.processes = Processes(folder / "processes")
        self.system_a = SystemA()
        simulator, console = free_port(), free_port()
        self.url, self._simulator = f"http://127.0.0.1:{console}", f"http://127.0.0.1:{simulator}"
        self._admin = {name: free_port() for name in CONSUMERS}
        forward = folder / "forward.toml"
        forward.write_text(
            f'[systems.a]\nurl = "{self.system_a.url}"\ntypes = ["bpms_instance_change"]\nunsigned = true\n'
        )
        shared = {
            **SAMPLE_CREDENTIALS,
            **kafka_env,
            "DATA_DIR": str(folder / "data"),
            "DINGTALK_API_BASE": self._simulator,
            "TOPIC_PARTITIONS": "2",
            "FORWARD_FILE": str(forward),
            "FORWARD_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        self.ingress = IngressUnderTest(self.processes, folder, shared)
        listeners = {"ingress": self.ingress.admin_port, **self._admin}
        self.env = {
            **shared,
            "JOURNAL_DIR": str(self.ingress.journal),
            "CONSOLE_PORT": str(console),
            "CONSOLE_LISTENERS": ",".join(
                f"{name}=http://127.0.0.1:{port}" for name, port in listeners.items()
            ),
            "ADMIN_PORT": str(self.ingress.admin_port),
        }
        self._shared = shared
        self.processes.start("simulator", env={**shared, "SIMULATOR_PORT": str(simulator)})
        self.ingress.start()
        for name, port in self._admin.items():
            self.processes.start("consume", name, env={**shared, "ADMIN_PORT": str(port)})
        for role in ROLES:
            self._set_password(role)
        self.console = self.processes.start("console", env=self.env)
        self.console.wait_for_log("console.ready")
        for port in self._admin.values():
            wait_until(lambda port=port: _answers(f"http://127.0.0.1:{port}/readyz"))

    def push(self, payloads: Iterable[bytes]) -> None:
        """Callbacks as DingTalk would push them; each is answered ``success``."""
        pusher = Pusher(self.ingress.url)
        in_own_loop(pusher.push_all(enumerate(payloads)))
        assert set(pusher.answers.values()) <= {"success"}, pusher.outcomes

    def approvals(self, numbers: Iterable[int], title: str = "") -> None:
        self.push(event(number, title=title) for number in numbers)

    def act(self, action: str, **values: object) -> None:
        """Something happens in the simulated company."""
        body = json.dumps({"action": action, **values}).encode()
        request = urllib.request.Request(
            f"{self._simulator}/_sim/act", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200

    def stop(self) -> None:
        self.processes.stop_all()
        self.system_a.stop()

    def _set_password(self, role: str) -> None:
        done = subprocess.run(
            command("console", "set-password", role, "--role", role),
            env=environment(self.env),
            cwd=self.processes.folder,
            input=PASSWORD + "\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
