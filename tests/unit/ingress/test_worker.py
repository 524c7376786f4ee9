"""One worker of several, as its supervisor has it: tried again, asked, and killed when it stands still."""

import asyncio
import errno
import os
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from ingress import worker as module
from ingress.metrics import SupervisorMetrics
from ingress.worker import Worker
from ingress.workers import Supervisor
from tests.support.waiting import eventually

LISTENS = """
import http.server, json, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"status": "ok", "journal": {"waiting": 1}, "apps": {"hr": ["a"]}, "rejected": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(json.dumps({"admin_port": server.server_port}), flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"""
STANDS_STILL = """
import json, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"admin_port": listener.getsockname()[1]}), flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def started(folder, count=1):
    metrics = SupervisorMetrics(CollectorRegistry())
    workers = [Worker(SimpleNamespace(journal_path=folder), number + 1, metrics) for number in range(count)]
    async with aiohttp.ClientSession() as http:
        for worker in workers:
            worker.start(http)
        try:
            yield workers
        finally:
            await asyncio.gather(*(worker.stop(30) for worker in workers))


async def holds(condition, what):
    async def asked():
        return condition()

    await eventually(asked, 30, what)


async def text(answer):
    return await answer.text()


@pytest.fixture
def patience(monkeypatch):
    """No more than moments."""
    monkeypatch.setattr(module, "LOOK_WITHIN_S", 1.0)


async def test_one_that_could_not_be_started_is_tried_again(child, tmp_path):
    child(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), LISTENS)
    async with started(tmp_path) as [worker]:
        await worker.ready.wait()
        assert '"ok"' in await worker.look("/healthz", text)
    assert worker.admin_port is None


async def test_one_that_stands_still_is_killed_and_started_again(child, tmp_path, monkeypatch, patience):
    monkeypatch.setattr(module, "PROBE_EVERY_S", 0.01)
    monkeypatch.setattr(module, "SILENT_PROBES", 2)
    child(STANDS_STILL, LISTENS)
    async with started(tmp_path) as [worker]:
        await worker.ready.wait()
        first = worker.admin_port
        await holds(lambda: worker.admin_port not in (first, None), "another is in its place")
        assert worker._metrics.restarts._value.get() == 1


async def test_one_that_answers_now_and_then_is_left_alone(child, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROBE_EVERY_S", 0.0)
    child(LISTENS)
    async with started(tmp_path) as [worker]:
        probes, real = 0, worker.look

        async def look(path, read):
            nonlocal probes
            probes += 1
            return await real(path, read) if probes % module.SILENT_PROBES == 0 else None

        worker.look = look
        await worker.ready.wait()
        port = worker.admin_port
        await holds(lambda: probes > 10 * module.SILENT_PROBES, "it is asked many times")
        assert worker.admin_port == port


async def test_one_that_stands_still_does_not_blind_the_supervisor(child, tmp_path, monkeypatch, patience):
    for name, value in SAMPLE_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DINGTALK_API_BASE", "http://127.0.0.1:1")
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path))
    monkeypatch.setenv("JOURNAL_ALLOW_UNSAFE", "1")
    supervisor = Supervisor(IngressSettings.load())
    child(LISTENS, STANDS_STILL)
    async with started(tmp_path, 2) as supervisor._workers:
        for worker in supervisor._workers:
            await worker.ready.wait()

        async def told():
            ready, details = await supervisor.ready()
            assert not ready
            first, second = details["workers"].values()
            # whether the second takes credentials, nobody knows
            accepted = (await supervisor._accepted())["apps"]
            return (
                first["status"] == "ok" and second == {"status": "does not answer"} and accepted == {"hr": []}
            )

        await eventually(told, 60, "the one that answers, and the one that does not")
