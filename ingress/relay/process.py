"""The ingress's side of the publisher's process: what it is told, and what its reports mean."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from prometheus_client import Gauge

from ingress.metrics import PublishingMetrics
from ingress.relay.supervised_process import Respawned

log = structlog.get_logger(__name__)

_WITHOUT_KAFKA_S = 2.0
_WAKE_EVERY_S = 0.01


class PublisherProcess:
    """Keeps one publisher running for as long as the ingress does. ``state`` is its last report."""

    def __init__(
        self, metrics: PublishingMetrics, environment: Mapping[str, str], connected: Gauge | None = None
    ) -> None:
        """Several may count in the same ``metrics``; ``connected`` is set by one of them."""
        self._metrics, self._connected = metrics, connected
        self._process = Respawned("ingress.relay", environment, self._take, self._gone)
        self._resting: asyncio.TimerHandle | None = None
        self._kept_meanwhile = False
        self.state: dict[str, Any] = {"state": "starting", "words": "the publisher is starting"}

    def start(self) -> None:
        self._process.start()

    def wake(self) -> None:
        """Something new was kept. The publisher hears of the first at once, of those behind it together."""
        if self._resting is not None:
            self._kept_meanwhile = True
            return
        self._process.tell(b"wake\n", unless_busy=True)  # what is busy will find the rows without it
        self._resting = asyncio.get_running_loop().call_later(_WAKE_EVERY_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._kept_meanwhile:
            self._kept_meanwhile = False
            self.wake()

    def retry_parked(self) -> None:
        """Try what is parked now."""
        self._process.tell(b"retry\n")

    def give_up(self, journal: str, seq: int) -> None:
        """Forget a callback that is parked as damaged."""
        self._process.tell(f"discard {journal} {seq}\n".encode())

    async def stop(self, timeout_s: float) -> None:
        """Let it finish what is under way; after ``timeout_s``, or soon if Kafka does not take records, it is
        killed: the cursor tells the rest."""
        if self.state["state"] != "up":
            timeout_s = min(timeout_s, _WITHOUT_KAFKA_S)
        await self._process.stop(timeout_s)

    def _gone(self, why: int | OSError, again_in_s: float) -> None:
        if isinstance(why, OSError):
            words = f"the publisher cannot be started ({why.strerror}), and it is tried again"
            log.error("publisher.not_started", words=why.strerror, again_in_s=again_in_s)
        else:
            words = f"the publisher ended with {why} and is started again"
            log.error("publisher.ended", exit_code=why, again_in_s=again_in_s)
        self.state = {"state": "down", "words": words}
        self._metrics.restarts.inc()
        if self._connected is not None:
            self._connected.set(0)

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
