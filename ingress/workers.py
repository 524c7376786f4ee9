"""Several ingress processes on one host: they share the public port, and each has a journal of its own.

The supervisor starts them, starts again what ends, and serves one private listener for all: ready when all
are, metrics as their sum. Journals that no worker writes any more are drained beside them.
"""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import apsw
import orjson
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from dingbridge.errors import BridgeError
from dingbridge.health_server import AdminServer, json_response
from dingbridge.settings import IngressSettings
from ingress.admin.verbs import older_than_s, retention
from ingress.checks import PATH as CHECKS_PATH
from ingress.credentials import PATH as APPS_PATH
from ingress.credentials import joint as joint_apps
from ingress.giving_up import give_up_by
from ingress.journal.directory import FolderLock, prepare_folder, worker_folder
from ingress.metric_sum import merge
from ingress.metrics import FolderMetrics, PublishingMetrics, SupervisorMetrics
from ingress.owners import PATH as OWNERS_PATH
from ingress.owners import joint
from ingress.relay.drain import Leftovers
from ingress.status import joint_status
from ingress.worker import Worker

log = structlog.get_logger(__name__)


class Supervisor:
    """``INGRESS_WORKERS`` ingress processes as one service."""

    def __init__(self, settings: IngressSettings) -> None:
        """Raises ``JournalError`` when the journal's folder cannot be used."""
        self._settings = settings
        prepare_folder(settings.journal_path, allow_unsafe=settings.journal_allow_unsafe)
        self._lock = FolderLock(settings.journal_path)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ``BridgeError`` when it cannot begin."""
        settings = self._settings
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._lock.acquire()
        self._registry = CollectorRegistry()
        metrics = SupervisorMetrics(self._registry)
        workers = [Worker(settings, n + 1, metrics) for n in range(settings.ingress_workers)]
        self._workers = workers
        metrics.missing.set_function(lambda: sum(worker.admin_port is None for worker in workers))
        active = [worker_folder(settings.journal_path, w.number) for w in workers]
        self._leftovers = leftovers = Leftovers(
            settings.journal_path,
            active,
            os.environ,
            retention(settings),
            PublishingMetrics(self._registry),
        )
        admin = AdminServer(
            settings.admin_host,
            settings.admin_port,
            None,
            ready=self.ready,
            metrics=self._metrics,
            routes=[
                web.post("/journal/{verb}", self._forward),
                web.get(OWNERS_PATH, self._owners),
                web.get(CHECKS_PATH, self._seen),
                web.get(APPS_PATH, self._apps),
            ],
        )
        async with aiohttp.ClientSession() as http:
            try:
                for worker in workers:
                    worker.start(http)
                leftovers.start()
                await admin.start()
                await self._first_ready(workers, stop)
                log.info("ingress.ready", workers=len(workers), port=settings.ingress_port)
                await stop.wait()
            finally:
                await asyncio.gather(*(worker.stop(settings.shutdown_timeout_s + 1) for worker in workers))
                await leftovers.stop(1)
                await admin.stop()
                self._lock.release()

    async def _first_ready(self, workers: list[Worker], stop: asyncio.Event) -> None:
        all_ready: asyncio.Future[Any] = asyncio.gather(*(worker.ready.wait() for worker in workers))
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([all_ready, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            all_ready.cancel()
            stopping.cancel()

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Ready when every worker is; the details of each."""
        details: dict[str, Any] = {}

        async def one(worker: Worker) -> bool:
            async def read(answer: aiohttp.ClientResponse) -> bool:
                details[f"worker-{worker.number}"] = await answer.json()
                return answer.status == 200

            found = await worker.look("/readyz", read)
            if found is None:
                status = "not running" if worker.admin_port is None else "does not answer"
                details[f"worker-{worker.number}"] = {"status": status}
            return bool(found)

        ready = await asyncio.gather(*(one(worker) for worker in self._workers))
        waiting = sum(d.get("journal", {}).get("waiting", 0) for d in details.values())
        return all(ready), {"journal": {"waiting": waiting}, "workers": details}

    async def _metrics(self) -> str:
        of_workers = await asyncio.gather(*(worker.metrics() for worker in self._workers))
        pages = [page for of_one in of_workers for page in of_one]
        pages.append(generate_latest(self._registry).decode())
        if leftovers := self._leftovers.folders:
            registry = CollectorRegistry()
            try:
                root = self._settings.journal_path
                FolderMetrics(registry).show(await asyncio.to_thread(joint_status, root, leftovers))
            except (apsw.Error, BridgeError, OSError) as error:
                log.warning("journal.status_failed", error=type(error).__name__)
            else:
                pages.append(generate_latest(registry).decode())
        return merge(pages)

    async def _owners(self, request: web.Request) -> web.Response:
        return json_response(
            joint(answer for answer in await self._answers(OWNERS_PATH) if answer is not None)
        )

    async def _seen(self, request: web.Request) -> web.Response:
        """Whether a check of the URL came to any of the workers."""
        answers = await self._answers(request.path)
        found = next((answer for answer in answers if answer and answer.get("seen")), {"seen": False})
        return json_response(found)

    async def _apps(self, request: web.Request) -> web.Response:
        return json_response(await self._accepted())

    async def _accepted(self) -> dict[str, Any]:
        """What every worker accepts. One that is being started reads the file anew; of one that does not
        answer nobody knows."""
        answers = zip(self._workers, await self._answers(APPS_PATH), strict=True)
        unknown: dict[str, Any] = {"apps": {}, "rejected": []}
        return joint_apps([a or unknown for worker, a in answers if a or worker.admin_port is not None])

    async def _answers(self, path: str) -> list[dict[str, Any] | None]:
        """What each worker answers; ``None`` for one that does not."""

        async def read(answer: aiohttp.ClientResponse) -> dict[str, Any]:
            found: dict[str, Any] = await answer.json()
            return found

        asked = (worker.look(path, read) for worker in self._workers)
        return list(await asyncio.gather(*asked))

    async def _forward(self, request: web.Request) -> web.Response:
        """A request of the operator goes to every worker; numbers in the answers add up."""
        body = await request.read()
        path = f"/journal/{request.match_info['verb']}"

        async def read(answer: aiohttp.ClientResponse) -> tuple[int, dict[str, Any]]:
            return answer.status, await answer.json()

        total: dict[str, Any] = {}
        for worker in self._workers:
            found = await worker.ask(path, body, read)
            if found is None:
                return json_response({"error": f"worker {worker.number} does not answer; try again"}, 503)
            status, answer = found
            if status >= 400:
                return json_response(answer, status)
            for name, value in answer.items():
                total[name] = total[name] + value if isinstance(value, int) and name in total else value
            if path.endswith(("/renormalise", "/recover")):
                break  # there is one unclassified topic, and one failed list: once is enough
        try:
            return json_response(total | await self._of_leftovers(path, body, total))
        except (BridgeError, ValueError) as error:
            return json_response({"error": str(error)}, 409)

    async def _of_leftovers(self, path: str, body: bytes, total: dict[str, Any]) -> dict[str, Any]:
        """What is done of it with leftovers, beside the workers' ``total``."""
        publishers, options = self._leftovers.publishers, orjson.loads(body or b"{}")
        if path.endswith("/retry"):
            for publisher in publishers.values():
                publisher.retry_parked()
        if path.endswith("/discard"):
            return {"discarded": total["discarded"] + await give_up_by(publishers, options)}
        if path.endswith("/prune"):
            deleted = await self._leftovers.prune(older_than_s(self._settings, options))
            return {"deleted": total["deleted"] + deleted}
        return {}
