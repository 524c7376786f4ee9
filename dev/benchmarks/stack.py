"""The servers under measurement, each a process of its own, and what they cost in CPU and memory."""

import itertools
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from dev.servers import free_port
from dingbridge.settings import SAMPLE_CREDENTIALS

PYTHON = [sys.executable]

unused = itertools.count(0, 1_000_000)
"""Numbers of callbacks that no round has pushed yet."""


class Server:
    """One server of the comparison with all its child processes."""

    def __init__(self, name: str, arguments: list[str], env: Mapping[str, str], port: int, log: Path) -> None:
        self.name, self.port = name, port
        self._log = log.open("wb")
        self._popen = subprocess.Popen(
            arguments, env={**os.environ, **env}, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )
        self._process = psutil.Process(self._popen.pid)
        self._wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callback"

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=2)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                if self._popen.poll() is not None:
                    raise SystemExit(f"{self.name} ended; see {self._log.name}") from None
                time.sleep(0.1)
        raise SystemExit(f"{self.name} does not answer; see {self._log.name}")

    def processes(self) -> list[psutil.Process]:
        """The server's, and its children's."""
        return [self._process, *self._process.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds used so far by the server and its children."""
        total = 0.0
        for process in self.processes():
            times = process.cpu_times()
            total += times.user + times.system
        return total

    def rss_mb(self) -> float:
        """Resident memory of the server and its children together, MB."""
        return float(sum(process.memory_info().rss for process in self.processes())) / 1e6

    def load(self, connections: int, seconds: float) -> dict[str, Any]:
        """As fast as it answers, on callbacks that no round has pushed yet; what ``load`` prints."""
        return load(self.url, connections, seconds, 0, next(unused))

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
        self._log.close()


class Ingress(Server):
    """Our ingress with a journal of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str], name: str = "ingress") -> None:
        port, self.admin_port = free_port(), free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            name,
            [str(Path(sys.executable).with_name("dingbridge")), "ingress"],
            {
                **env,
                "JOURNAL_DIR": str(folder / "journal"),
                "INGRESS_HOST": "127.0.0.1",
                "INGRESS_PORT": str(port),
                "ADMIN_PORT": str(self.admin_port),
            },
            port,
            folder / "ingress.log",
        )

    def readyz(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def drained(self, timeout_s: float = 300) -> float:
        """Wait until nothing waits for Kafka; how long that took, s."""
        began = time.monotonic()
        while self.waiting() and time.monotonic() - began < timeout_s:
            time.sleep(0.05)
        return time.monotonic() - began

    def waiting(self) -> int:
        """How many callbacks are not yet in Kafka."""
        return int(self.readyz()["journal"]["waiting"])


def bare(folder: Path) -> Server:
    port = free_port()
    return Server(
        "bare aiohttp",
        [*PYTHON, "-m", "dev.benchmarks.servers.bare", str(port)],
        {},
        port,
        folder / "bare.log",
    )


def synced(folder: Path) -> Server:
    port = free_port()
    return Server(
        "web.Server, an fsync for each",
        [*PYTHON, "-m", "dev.benchmarks.servers.synced", str(port), str(folder / "synced.sqlite")],
        {},
        port,
        folder / "synced.log",
    )


def naive(folder: Path, env: Mapping[str, str]) -> Server:
    port = free_port()
    return Server(
        "naive bridge",
        [*PYTHON, "-m", "dev.benchmarks.servers.naive", str(port)],
        env,
        port,
        folder / "naive.log",
    )


def environment(bootstrap: str, prefix: str) -> dict[str, str]:
    """Settings of everything that speaks to Kafka here; topics of this run alone."""
    return {
        **SAMPLE_CREDENTIALS,
        "DINGTALK_API_BASE": "http://127.0.0.1:1",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "TOPIC_PREFIX": prefix,
        "CONTROL_PREFIX": f"ctl-{prefix}",
        "JOURNAL_ALLOW_UNSAFE": "1",
        "LOG_LEVEL": "WARNING",
    }


def load(url: str, connections: int, seconds: float, rate: float, first: int) -> dict[str, Any]:
    """Run the load in a process of its own; its JSON."""
    done = subprocess.run(
        [*PYTHON, "-m", "dev.benchmarks.load", url, str(connections), str(seconds), str(rate), str(first)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the load generator failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def interleaved(
    servers: Sequence[Server], connections: int, rounds: int, seconds: float
) -> dict[str, list[dict[str, float]]]:
    """As fast as possible, the servers in turn. By server, for each round: ``per_s``, ``p50_ms``,
    ``p99_ms``, ``cpu_us`` per callback, and of an ingress ``behind_s``: until all was in Kafka."""
    samples: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for number in range(rounds + 1):
        for server in servers:
            before = server.cpu_s()
            found = server.load(connections, seconds)
            if bad := {status: n for status, n in found["statuses"].items() if status != "200"}:
                raise SystemExit(f"{server.name} answered {bad}")
            sample = {key: found[key] for key in ("per_s", "p50_ms", "p99_ms")}
            if isinstance(server, Ingress) and "down" not in server.name:
                sample["behind_s"] = server.drained()
            # read when all is in Kafka: a callback costs its way there, too
            sample["cpu_us"] = (server.cpu_s() - before) / found["sent"] * 1e6
            if number:  # the first round warms up
                samples[server.name].append(sample)
            print(f"{connections} connections, round {number}, {server.name}: {sample}", flush=True)
    return samples
