"""Stream beside HTTP: the same ingress with the same events, by its connections and by its callback URL."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.benchmarks.results import Results
from dev.benchmarks.stack import PYTHON, Ingress, interleaved, unused
from dev.servers import free_port
from dingbridge.settings import IngressSettings

CONNECTIONS: int = IngressSettings.model_fields["stream_connections"].default


class StreamIngress(Ingress):
    """An ingress in Stream mode, and the gateway that it is connected to."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        port = free_port()
        self._gateway = subprocess.Popen(
            [*PYTHON, "-m", "dev.benchmarks.gateway", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stream = {"DINGTALK_MODE": "stream", "DINGTALK_API_BASE": f"http://127.0.0.1:{port}"}
        super().__init__(folder, {**env, **stream}, "ingress, Stream")

    def _wait(self) -> None:
        url, deadline = f"http://127.0.0.1:{self.admin_port}/stream", time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    apps = json.load(answer)["apps"]
            except OSError:
                apps = {}
            if sum(app["connections"] for app in apps.values()) == CONNECTIONS:
                return
            time.sleep(0.1)
        raise SystemExit(f"{self.name} has not opened its connections; see {self.folder}/ingress.log")

    def load(self, connections: int, seconds: float) -> dict[str, Any]:
        """``connections`` is how many frames are under way at once, over all connections."""
        print(connections, seconds, next(unused), file=self._gateway.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._gateway.stdout.readline() if self._gateway.stdout else "")
        return found

    def stop(self) -> None:
        super().stop()
        self._gateway.terminate()
        self._gateway.wait(20)


def measure(folder: Path, env: Mapping[str, str], results: Results, rounds: int, seconds: float) -> None:
    """Both at 32 and at 256 callbacks under way."""
    servers = [Ingress(folder / "http", env, "ingress, HTTP"), StreamIngress(folder / "stream", env)]
    try:
        for at_once in (32, 256):
            results.stream(at_once, interleaved(servers, at_once, rounds, seconds))
    finally:
        for server in servers:
            server.stop()
