"""Several ingress processes on one host: they share the public port, and each has a journal of its own.

The supervisor starts them, starts again what ends, and serves one private listener for all: ready when all
are, metrics as their sum. Journals that no worker writes any more are drained beside them.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import apsw
import orjson
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from bridge.admin import AdminServer, json_response
from bridge.errors import BridgeError
from bridge.settings import IngressSettings
from ingress.checks import PATH as CHECKS_PATH
from ingress.folder import FolderLock, prepare_folder, worker_folder
from ingress.giving_up import give_up_by
from ingress.leftovers import Leftovers
from ingress.live_apps import PATH as APPS_PATH
from ingress.live_apps import joint as joint_apps
from ingress.metric_sum import merge
from ingress.metrics import FolderMetrics, PublishingMetrics
from ingress.owners import PATH as OWNERS_PATH
from ingress.owners import joint
from ingress.respawn import Respawned
from ingress.status import joint_status
from ingress.verbs import older_than_s, retention

log = structlog.get_logger(__name__)
T = TypeVar("T")

_ASK_TIMEOUT = aiohttp.ClientTimeout(total=600, connect=2)


class _Worker:
    """One worker process, started again when it ends."""

    def __init__(self, settings: IngressSettings, number: int) -> None:
        self.number = number
        self.admin_port: int | None = None
        self.ready = asyncio.Event()
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

    def start(self) -> None:
        self._process.start()

    async def stop(self, timeout_s: float) -> None:
        """Let it answer what it has accepted; after ``timeout_s`` it is killed."""
        await self._process.stop(timeout_s)
        self.admin_port = None

    def _listens(self, said: dict[str, Any]) -> None:
        self.admin_port = said["admin_port"]
        self.ready.set()

    def _gone(self, why: int | OSError, again_in_s: float) -> None:
        self.admin_port = None
        if isinstance(why, OSError):
            log.error("worker.not_started", worker=self.number, words=why.strerror, again_in_s=again_in_s)
        else:
            log.error("worker.ended", worker=self.number, exit_code=why, again_in_s=again_in_s)


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
        workers = [_Worker(settings, n + 1) for n in range(settings.ingress_workers)]
        self._workers = workers
        active = [worker_folder(settings.journal_path, w.number) for w in workers]
        self._registry = CollectorRegistry()
        self._leftovers = leftovers = Leftovers(
            settings.journal_path,
            active,
            os.environ,
            retention(settings),
            PublishingMetrics(self._registry),
        )
        for worker in workers:
            worker.start()
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
        async with aiohttp.ClientSession(timeout=_ASK_TIMEOUT) as self._http:
            try:
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

    async def _first_ready(self, workers: list[_Worker], stop: asyncio.Event) -> None:
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

        async def one(worker: _Worker) -> bool:
            async def read(answer: aiohttp.ClientResponse) -> bool:
                details[f"worker-{worker.number}"] = await answer.json()
                return answer.status == 200

            found = await self._ask(worker, "GET", "/readyz", None, read)
            if found is None:
                details[f"worker-{worker.number}"] = {"status": "not running"}
            return bool(found)

        ready = await asyncio.gather(*(one(worker) for worker in self._workers))
        waiting = sum(d.get("journal", {}).get("waiting", 0) for d in details.values())
        return all(ready), {"journal": {"waiting": waiting}, "workers": details}

    async def _metrics(self) -> str:
        async def text(answer: aiohttp.ClientResponse) -> str:
            return await answer.text()

        pages = await asyncio.gather(
            *(self._ask(worker, "GET", "/metrics", None, text) for worker in self._workers)
        )
        found = [page for page in pages if page is not None]
        if leftovers := self._leftovers.folders:
            found.append(generate_latest(self._registry).decode())
            registry = CollectorRegistry()
            try:
                root = self._settings.journal_path
                FolderMetrics(registry).show(await asyncio.to_thread(joint_status, root, leftovers))
            except (apsw.Error, BridgeError, OSError) as error:
                log.warning("journal.status_failed", error=type(error).__name__)
            else:
                found.append(generate_latest(registry).decode())
        return merge(found)

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
        """What every worker accepts; a worker that is being started reads the file anew."""
        answers = await self._answers(APPS_PATH)
        return json_response(joint_apps([answer for answer in answers if answer is not None]))

    async def _answers(self, path: str) -> list[dict[str, Any] | None]:
        """What each worker answers; ``None`` for one that does not."""

        async def read(answer: aiohttp.ClientResponse) -> dict[str, Any]:
            found: dict[str, Any] = await answer.json()
            return found

        asked = (self._ask(worker, "GET", path, None, read) for worker in self._workers)
        return list(await asyncio.gather(*asked))

    async def _forward(self, request: web.Request) -> web.Response:
        """A request of the operator goes to every worker; numbers in the answers add up."""
        body = await request.read()
        path = f"/journal/{request.match_info['verb']}"

        async def read(answer: aiohttp.ClientResponse) -> tuple[int, dict[str, Any]]:
            return answer.status, await answer.json()

        total: dict[str, Any] = {}
        for worker in self._workers:
            found = await self._ask(worker, "POST", path, body, read)
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

    async def _ask(
        self,
        worker: _Worker,
        method: str,
        path: str,
        body: bytes | None,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
    ) -> T | None:
        if worker.admin_port is None:
            return None
        try:
            url = f"http://127.0.0.1:{worker.admin_port}{path}"
            async with self._http.request(method, url, data=body) as answer:
                return await read(answer)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
