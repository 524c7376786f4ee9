"""One worker process of several, as its supervisor has it: started again when it ends, or falls silent.

A worker that stands still keeps its share of the public port's connections, and answers none of them.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import aiohttp
import structlog

from dingbridge.settings import IngressSettings
from ingress.journal.directory import worker_folder
from ingress.metric_sum import Pages
from ingress.metrics import SupervisorMetrics
from ingress.relay.supervised_process import Respawned

log = structlog.get_logger(__name__)
T = TypeVar("T")

LOOK_WITHIN_S: Final = 3.0
"""What does not answer a GET by then does not answer."""
VERB_WITHIN_S: Final = 600.0
PROBE_EVERY_S: Final = 10.0
SILENT_PROBES: Final = 6
"""After so many without an answer it is killed: as the Kubernetes manifests do with a single process."""


class Worker:
    """``admin_port`` is that of its private listener, once it is ready; ``None`` while there is none."""

    def __init__(self, settings: IngressSettings, number: int, metrics: SupervisorMetrics) -> None:
        self.number = number
        self.admin_port: int | None = None
        self.ready = asyncio.Event()
        self._pages, self._metrics = Pages(), metrics
        self._watching: asyncio.Task[None] | None = None
        environment = {
            **os.environ,
            "INGRESS_WORKERS": "1",
            "JOURNAL_DIR": str(worker_folder(settings.journal_path, number).absolute()),
            "ADMIN_HOST": "127.0.0.1",
            "ADMIN_PORT": "0",
        }
        # Ctrl-C is for the supervisor, which stops them in order
        self._process = Respawned(
            "ingress.worker_main", environment, self._listens, self._gone, own_session=True
        )

    def start(self, http: aiohttp.ClientSession) -> None:
        """Begin; it is asked by ``http``."""
        self._http = http
        self._process.start()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self, timeout_s: float) -> None:
        """Let it answer what it has accepted; after ``timeout_s`` it is killed."""
        if self._watching is not None:
            self._watching.cancel()
        await self._process.stop(timeout_s)
        self.admin_port = None

    async def look(self, path: str, read: Callable[[aiohttp.ClientResponse], Awaitable[T]]) -> T | None:
        """What ``read`` makes of its answer to a GET; ``None`` if it gives none within moments."""
        return await self._request("GET", path, None, read, LOOK_WITHIN_S)

    async def ask(
        self, path: str, body: bytes, read: Callable[[aiohttp.ClientResponse], Awaitable[T]]
    ) -> T | None:
        """The same of a POST, which may be long work."""
        return await self._request("POST", path, body, read, VERB_WITHIN_S)

    async def metrics(self) -> list[str]:
        """Pages of metrics that stand for it in the sum."""

        async def text(answer: aiohttp.ClientResponse) -> str:
            return await answer.text()

        life = self._pages.life
        return self._pages.read(life, await self.look("/metrics", text))

    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        within_s: float,
    ) -> T | None:
        if self.admin_port is None:
            return None
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        timeout = aiohttp.ClientTimeout(total=within_s, connect=2)
        try:
            async with self._http.request(method, url, data=body, timeout=timeout) as answer:
                return await read(answer)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def _watch(self) -> None:
        silent = 0
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            if self.admin_port is None or await self.look("/healthz", _answered):
                silent = 0
                continue
            silent += 1
            if silent >= SILENT_PROBES and self.admin_port is not None:
                log.error("worker.silent", worker=self.number, probes=silent)
                self._process.kill()
                silent = 0

    def _listens(self, said: dict[str, Any]) -> None:
        self.admin_port = said["admin_port"]
        self.ready.set()

    def _gone(self, why: int | OSError, again_in_s: float) -> None:
        self.admin_port = None
        self._pages.ended()
        self._metrics.restarts.inc()
        if isinstance(why, OSError):
            log.error("worker.not_started", worker=self.number, words=why.strerror, again_in_s=again_in_s)
        else:
            log.error("worker.ended", worker=self.number, exit_code=why, again_in_s=again_in_s)


async def _answered(answer: aiohttp.ClientResponse) -> bool:
    return True
