"""The ingress's side of the publisher's process: starts it, starts it again, and hears its reports."""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from prometheus_client import Gauge

from ingress.metrics import PublishingMetrics

log = structlog.get_logger(__name__)

_RESTART_S = (0.1, 5.0)
_WITHOUT_KAFKA_S = 2.0
_WAKE_EVERY_S = 0.01


class PublisherProcess:
    """Keeps one publisher running for as long as the ingress does. ``state`` is its last report."""

    def __init__(
        self, metrics: PublishingMetrics, environment: Mapping[str, str], connected: Gauge | None = None
    ) -> None:
        """Several may count in the same ``metrics``; ``connected`` is set by one of them."""
        self._metrics, self._environment, self._connected = metrics, environment, connected
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._resting: asyncio.TimerHandle | None = None
        self._kept_meanwhile = False
        self.state: dict[str, Any] = {"state": "starting", "words": "the publisher is starting"}

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._supervise())

    def wake(self) -> None:
        """Something new was kept. The publisher hears of the first at once, of those behind it together."""
        if self._resting is not None:
            self._kept_meanwhile = True
            return
        self._tell(b"wake\n")
        self._resting = asyncio.get_running_loop().call_later(_WAKE_EVERY_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._kept_meanwhile:
            self._kept_meanwhile = False
            self.wake()

    def retry_parked(self) -> None:
        """Try what is parked now."""
        self._tell(b"retry\n")

    def give_up(self, journal: str, seq: int) -> None:
        """Forget a callback that is parked as damaged."""
        self._tell(f"discard {journal} {seq}\n".encode())

    async def stop(self, timeout_s: float) -> None:
        """Let it finish what is under way; after ``timeout_s``, or soon if Kafka does not take records, it is
        killed: the cursor tells the rest."""
        if self.state["state"] != "up":
            timeout_s = min(timeout_s, _WITHOUT_KAFKA_S)
        self._stopping = True
        self._tell(b"stop\n")
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=timeout_s)
            if late and self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            self._task.cancel()

    def _tell(self, line: bytes) -> None:
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            # a publisher that does not read is busy: it will find the rows without being woken
            if line == b"wake\n" and process.stdin.transport.get_write_buffer_size():
                return
            process.stdin.write(line)

    async def _supervise(self) -> None:
        delay = _RESTART_S[0]
        while not self._stopping:
            began = asyncio.get_running_loop().time()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ingress.publisher_main",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=dict(self._environment),
            )
            await self._hear(self._process)
            code = await self._process.wait()
            if self._stopping:
                return
            self.state = {"state": "down", "words": f"the publisher ended with {code} and is started again"}
            log.error("publisher.ended", exit_code=code, again_in_s=delay)
            self._metrics.restarts.inc()
            await asyncio.sleep(delay)
            lived_s = asyncio.get_running_loop().time() - began
            delay = _RESTART_S[0] if lived_s > 60 else min(delay * 2, _RESTART_S[1])

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for above
        while line := await process.stdout.readline():
            try:
                report = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            self._take(report)

    def _take(self, report: dict[str, Any]) -> None:
        self.state = {key: report[key] for key in ("state", "words", "since", "parked")}
        if self._connected is not None:
            self._connected.set(report["state"] == "up")
        for event_type, count in report["published"].items():
            self._metrics.published.labels(event_type).inc(count)
        for reason, count in report["unclassified"].items():
            self._metrics.unclassified.labels(reason).inc(count)
        for error, count in report["errors"].items():
            self._metrics.errors.labels(error).inc(count)
        for seconds in report["lags"]:
            self._metrics.lag_seconds.observe(seconds)
