"""Running a real ``dingbridge ingress`` in a test, and asking it how it is."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.support.processes import Process, Processes, free_port, wait_until


class IngressUnderTest:
    """One ingress with a journal folder and fixed ports, to be started, killed and started again."""

    def __init__(self, processes: Processes, folder: Path, *layers: Mapping[str, str]) -> None:
        self.processes = processes
        self.port, self.admin_port = free_port(), free_port()
        self.journal = folder / "journal"
        self.env = {
            **SAMPLE_CREDENTIALS,
            "DINGTALK_API_BASE": "http://127.0.0.1:1",
            "JOURNAL_DIR": str(self.journal),
            "JOURNAL_ALLOW_UNSAFE": "1",
            "INGRESS_HOST": "127.0.0.1",
            "INGRESS_PORT": str(self.port),
            "ADMIN_PORT": str(self.admin_port),
            "KAFKA_REQUEST_TIMEOUT_S": "5",
            "TOPIC_PARTITIONS": "2",
        }
        for layer in layers:
            self.env |= layer
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callback"

    def start(self) -> Process:
        """Start it and wait until it is ready; fails at once if it ends before."""
        process = self.process = self.processes.start("ingress", env=self.env)

        def ready() -> bool:
            assert process.running, f"the ingress ended with {process.poll()}"
            return self.readyz()[0] == 200

        wait_until(ready, what="the ingress is ready")
        return process

    def restart(self) -> Process:
        """SIGKILL, if it still runs, and start it again on the same journal and ports."""
        if self.process is not None:
            self.process.kill()
        return self.start()

    def readyz(self) -> tuple[int, dict[str, Any]]:
        """Status and details of the ingress's ``/readyz``; status 0 while nothing listens."""
        return _readyz(self.admin_port)

    def metrics(self) -> list[Metric]:
        """What its ``/metrics`` serves, parsed; nothing while it does not answer."""
        try:
            return _metrics(self.admin_port)
        except OSError:
            return []

    def metric(self, sample: str, **labels: str) -> float:
        """The sum of all samples of this name (``…_total`` for counters) that carry these labels."""
        return sum(
            s.value
            for family in self.metrics()
            for s in family.samples
            if s.name == sample and labels.items() <= s.labels.items()
        )

    def kafka_state(self) -> str:
        """``up``, ``down``, ``stalled``, ``starting`` or ``restarting``, by the relay; empty: no answer."""
        return str(self.readyz()[1].get("kafka", {}).get("state", ""))

    def drained(self) -> bool:
        """Whether nothing waits for Kafka any more, and what was put aside is drained."""
        status, details = self.readyz()
        journal = details["journal"] if status == 200 else {}
        return journal.get("waiting") == 0 and all(each["done"] for each in journal["put_aside"])

    def published(self) -> bool:
        """The same, and nothing is parked, as records are while their topic is slow to be made."""
        return self.drained() and not self.readyz()[1]["journal"]["parked"]

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[list[int]]:
        """It is started again whenever it ends by itself, as by systemd; yields the exit codes."""
        codes: list[int] = []

        async def supervise() -> None:
            while True:
                process = self.process
                if process is not None and (code := process.poll()) is not None:
                    codes.append(code)
                    self.process = await asyncio.to_thread(self.processes.start, "ingress", env=self.env)
                await asyncio.sleep(0.1)

        supervising = asyncio.ensure_future(supervise())
        try:
            yield codes
        finally:
            supervising.cancel()
            await asyncio.wait([supervising])


def _readyz(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def _metrics(port: int) -> list[Metric]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))
