"""A real ingress under attack: good pushes go on all the time, nothing of the attack stays."""

import asyncio
import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from tests.support.hostile import CLASSES, Reply, memory_bytes
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Processes, free_port
from tests.support.pusher import Pusher

MAX_BYTES = 64 * 1024
MARKER = "Do-Not-Log-Me"


def event(number: int) -> bytes:
    return json.dumps(
        {"EventType": "check_in", "eventId": f"e{number}", "CorpId": "dingcorpsample01", "StaffId": "u"}
    ).encode()


SEED = event(10**9)
"""The good push that others are mutations of."""


class Besieged:
    """A real ingress without Kafka, a pusher whose good pushes go on all the time, and what is left after."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.ingress = IngressUnderTest(
            processes,
            folder,
            {
                "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
                "CALLBACK_MAX_BYTES": str(MAX_BYTES),
                "TRUSTED_PROXIES": "127.0.0.1",
            },
        )
        self.pusher = Pusher(self.ingress.url)
        self._stop = asyncio.Event()

    async def __aenter__(self) -> "Besieged":
        await asyncio.to_thread(self.ingress.start)
        self._load = asyncio.ensure_future(self.pusher.push_all(self._numbers(), concurrency=2))
        return self

    def _numbers(self) -> Any:
        number = 0
        while not self._stop.is_set():
            yield number, event(number)
            number += 1

    async def __aexit__(self, kind: Any, *_: object) -> None:
        self._stop.set()
        await self._load
        if kind is None:
            self._look_back()

    @property
    def memory(self) -> int:
        assert self.ingress.process is not None
        return memory_bytes(self.ingress.process.pid)

    def _look_back(self) -> None:
        assert set(self.pusher.answers.values()) == {"success"}, "good pushes were answered meanwhile"
        kept = [row.body for row in self.kept()]
        assert len(kept) == len(set(kept))
        assert set(kept) <= {event(n) for n in self.pusher.answers} | {SEED}, "nothing else was kept"
        assert self.ingress.process is not None
        assert self.ingress.process.running
        text = self.ingress.process.log_text()
        lines = [json.loads(line) for line in text.splitlines()]  # one entry a line, whatever was sent
        events = Counter(line["event"] for line in lines)
        assert not events["callback.fault"], text
        assert "Traceback" not in text
        assert MARKER not in text
        assert "X-Injected" not in text
        assert max(map(len, text.splitlines())) < 2000
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ingress.admin_port}/metrics") as answer:
            metrics = answer.read().decode()
        assert 'reason="fault"' not in metrics
        assert metrics.count("dingbridge_callbacks_total{") < 40, "no series by what was sent"

    def kept(self) -> list[Any]:
        rows = []
        file = JournalFile(current(self.ingress.journal), read_only=True)
        after = 0
        while found := file.read(after, max_rows=5000, max_bytes=1 << 26):
            rows += found
            after = found[-1].seq
        file.close()
        return rows


def check(reply: Reply, request: object) -> None:
    """A refusal: its class, and no more; or aiohttp's own 400 for what it could not parse."""
    if reply.status == 400 and reply.headers["content-type"].startswith("text/plain"):
        return
    assert reply.status in CLASSES, request
    assert reply.body == CLASSES[reply.status], request
    assert reply.headers["server"] == "callback"
    assert set(reply.headers) <= {"content-type", "content-length", "date", "connection", "allow", "server"}
