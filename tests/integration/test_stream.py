"""Stream mode against the simulator's gateway: what is kept, answered and replaced, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from dingbridge.dingtalk.gateway import Opening
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import ResyncRequest
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import HttpMetrics, JournalMetrics, StreamMetrics
from dingbridge.ingress.stream import client as client_module
from dingbridge.ingress.stream.client import Streams
from dingbridge.ingress.stream.connection import Connection, connect
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from dingbridge.settings.apps import App
from dingbridge.simulator.server import Simulator
from dingbridge.tasks import WatchedTasks, end
from tests.integration.simulator_support import settings
from tests.support.ingress import IngressUnderTest
from tests.support.waiting import PATIENCE_S, eventually

KEY, SECRET = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]


class RecordingJournal(Journal):
    """A real journal; ``hold`` keeps its answers back, ``sick`` makes it refuse."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.bodies: list[bytes] = []
        self.orders: list[ResyncRequest] = []
        self.hold, self.sick = asyncio.Event(), False
        self.hold.set()
        self.waiting = self.most_waiting = 0

    async def append(self, callback):
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        try:
            await self.hold.wait()
        finally:
            self.waiting -= 1
        if self.sick:
            raise JournalUnavailable("disk", "the disk is full")
        new = await super().append(callback)
        if new:
            self.bodies.append(callback.body)
        return new

    async def commit(self, rows, notes=None):
        done = await super().commit(rows, notes)
        self.orders += [row for row in rows if isinstance(row, ResyncRequest)]
        return done


class Stack:
    """A simulator in Stream mode, and Stream mode of an ingress on a real journal; no Kafka."""

    def __init__(self, folder, simulator: Simulator) -> None:
        self.registry, self.simulator = CollectorRegistry(), simulator
        self.journal = RecordingJournal(folder, Retention(3600, 3600), JournalMetrics(self.registry))
        self.apps = {"default": App("default", (), (), KEY, SECRET, mode="stream")}
        self.streams: Streams | None = None
        self.http = HttpMetrics(self.registry)
        self.metrics = StreamMetrics(self.registry, self.http.callbacks)

    def start(self, **options: Any) -> None:
        given = {"dingtalk_api_base": self.simulator.base_url, "stream_watchdog_s": 0, **options}
        self.streams = Streams(
            IngressSettings.model_construct(**given),
            lambda: self.apps,
            self.journal,
            self.metrics,
        )
        self._running = asyncio.create_task(self._run(self.streams))

    async def _run(self, streams: Streams) -> None:
        async with WatchedTasks() as tasks:
            streams.start(tasks)
            await asyncio.Event().wait()

    async def stop(self) -> None:
        if self.streams is not None:
            await self.streams.stop(5)
            await end(self._running)
            self.streams = None

    @property
    def gateway(self):
        return self.simulator.gateway

    async def shown(self) -> dict[str, Any]:
        """What ``GET /stream`` says."""
        return json.loads((await self.streams.route().handler(None)).body)["apps"]

    def value(self, sample: str, **labels: str) -> float:
        return self.registry.get_sample_value(sample, labels) or 0

    def reconnects(self, reason: str) -> float:
        return self.value("dingbridge_stream_reconnects_total", app="default", reason=reason)

    def counted(self, outcome: str, reason: str = "") -> float:
        return sum(
            sample.value
            for metric in self.http.callbacks.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
            and (sample.labels["outcome"], sample.labels["reason"], sample.labels["via"])
            == (outcome, reason, "stream")
        )

    async def open(self, count: int = 2) -> None:
        await eventually(lambda: self.value("dingbridge_stream_connections", app="default") == count)

    def push(self, number: int):
        event = {
            "EventType": "user_add_org",
            "CorpId": "dingcorpsample01",
            "EventTime": 1_731_000_000_000 + number,
        }
        event |= {"eventId": f"e{number}", "UserId": [f"u{number}"]}
        return self.simulator.pusher.push("user_add_org", json.dumps(event).encode())

    def kept(self) -> list[str]:
        return sorted(json.loads(body)["eventId"] for body in self.journal.bodies)


@pytest.fixture
async def stack(tmp_path) -> AsyncIterator[Stack]:
    async with Simulator(settings(mode="stream")) as simulator:
        stack = Stack(tmp_path, simulator)
        await stack.journal.start()
        yield stack
        stack.journal.hold.set()
        await stack.stop()
        await stack.journal.stop()


async def test_success_is_said_when_it_is_on_the_disk_and_not_before(stack):
    stack.start()
    await stack.open()
    stack.journal.hold.clear()
    push = stack.push(1)
    await eventually(lambda: stack.journal.waiting, what="it is being kept")
    assert push.attempts == []
    stack.journal.hold.set()
    await stack.simulator.pusher.drain()
    assert [attempt.outcome for attempt in push.attempts] == ["success"]
    assert stack.kept() == ["e1"]
    assert stack.counted("kept") == 1
    assert json.loads(stack.journal.bodies[0])["CorpId"] == "dingcorpsample01"
    shown = (await stack.shown())["default"]
    assert (shown["connections"], shown["events"], shown["refused"]) == (2, 1, None)
    assert shown["last_frame_s"] >= 0


async def test_what_cannot_be_kept_is_later_and_comes_again_as_one_event(stack):
    stack.start()
    await stack.open()
    stack.journal.sick = True
    push = stack.push(1)
    await eventually(lambda: stack.counted("unavailable", "disk"), what="it was refused")
    stack.journal.sick = False
    await stack.simulator.pusher.drain()
    outcomes = [attempt.outcome for attempt in push.attempts]
    assert outcomes == ["later"] * (len(outcomes) - 1) + ["success"]
    assert stack.counted("unavailable", "disk") == len(outcomes) - 1
    assert stack.kept() == ["e1"]


async def test_a_fault_of_ours_is_later_too_and_ends_nothing(stack, monkeypatch):
    stack.start()
    await stack.open()

    def fault(*_):
        raise ZeroDivisionError("a name")

    with monkeypatch.context() as broken:
        broken.setattr(client_module, "new_callback", fault)
        push = stack.push(1)
        await eventually(lambda: stack.counted("unavailable", "fault"), what="it was refused")
    await stack.simulator.pusher.drain()
    assert push.attempts[-1].outcome == "success"
    assert stack.gateway.counts["opened"] == 2


async def test_a_disconnect_is_handed_over_and_the_old_one_still_answers(stack):
    stack.start(stream_connections=1)
    await stack.open(1)
    stack.journal.hold.clear()
    push = stack.push(1)
    await eventually(lambda: stack.journal.waiting, what="it is being kept")
    await stack.gateway.set(disconnect=1)
    await eventually(lambda: stack.gateway.counts["opened"] == 2, what="the new one is open")
    assert len(stack.gateway.connections) == 2, "before the old one is closed"
    stack.journal.hold.set()
    await stack.simulator.pusher.drain()
    assert [attempt.outcome for attempt in push.attempts] == ["success"]
    await stack.gateway.set(close_s=0.1)
    assert stack.reconnects("disconnect") == 1
    assert stack.gateway.counts["unexpected"] == 0, "each answer is on the connection of its frame"
    assert stack.gateway.counts["repeated"] == 0, "and the disconnect is answered"


async def test_an_old_connection_that_is_not_closed_by_the_server_is_closed_by_us(stack, monkeypatch):
    monkeypatch.setattr(client_module, "HANDOVER_S", 0.1)
    stack.start()
    await stack.open()
    await stack.gateway.set(close_s=3600, disconnect=1)
    await eventually(lambda: stack.gateway.counts["opened"] == 3, what="the new one is open")
    await eventually(lambda: len(stack.gateway.connections) == 2, what="the old one is closed")
    await stack.open()


async def test_connections_that_say_nothing_are_replaced(stack):
    stack.start(stream_watchdog_s=0.5)
    await stack.open()
    await stack.gateway.set(ping_s=0.1, answer_s=0.2)
    before = stack.gateway.counts["opened"]
    await stack.gateway.set(silence=True)
    await eventually(lambda: stack.reconnects("silent") >= 2)
    await eventually(lambda: stack.gateway.counts["opened"] >= before + 2)
    push = stack.push(1)
    await stack.simulator.pusher.drain()
    assert push.attempts[-1].outcome == "success"


async def test_wrong_credentials_are_told_and_tried_again(stack):
    stack.apps = {"default": App("default", (), (), KEY, "another", mode="stream")}
    stack.start()
    await eventually(lambda: stack.reconnects("refused") > 2)
    seen = (await stack.shown())["default"]
    assert (seen["connections"], seen["events"], seen["last_frame_s"]) == (0, 0, None)
    assert "authFailed" in seen["refused"]
    assert "app secret is wrong" in seen["refused"]
    assert "another" not in seen["refused"]


def ours() -> list[Any]:
    """The tasks of Stream mode that run now."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("that ")]


async def test_a_stop_answers_what_was_taken_also_in_a_handover_and_leaves_no_task(stack, monkeypatch):
    monkeypatch.setattr(client_module, "HANDOVER_S", 0.01)
    stack.start(stream_connections=1)
    await stack.open(1)
    stack.journal.hold.clear()
    pushes = [stack.push(number) for number in range(5)]
    await eventually(lambda: stack.journal.waiting == 5, what="they are being kept")
    [old] = stack.streams.each["default"]._connections
    await stack.gateway.set(disconnect=1)
    await eventually(lambda: old._closing, what="the old one is being closed")
    assert ours()
    stopping = asyncio.create_task(stack.streams.stop(5))
    await eventually(lambda: stack.value("dingbridge_stream_connections", app="default") == 0)
    stack.journal.hold.set()
    await stopping
    assert {push.attempts[0].outcome for push in pushes} == {"success"}
    assert stack.gateway.counts["unexpected"] == 0
    assert not ours()


async def test_an_app_that_goes_or_changes_is_followed(stack, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.per_app.EVERY_S", 0.02)
    stack.start()
    await stack.open()
    stack.apps = {"default": App("default", (), (), KEY, SECRET, "dingcorp1", mode="stream")}
    await eventually(lambda: stack.gateway.counts["opened"] == 4, what="opened with what it is now")
    await eventually(lambda: len(stack.gateway.connections) == 2, what="the old ones are closed")
    await stack.open()
    assert stack.journal.orders == [], "that was no gap"
    stack.apps = {"default": App("default", (), (), KEY, SECRET)}
    await eventually(lambda: not stack.gateway.connections, what="it is not in Stream mode any more")
    name = "dingbridge_stream_connections"
    await eventually(lambda: stack.registry.get_sample_value(name, {"app": "default"}) is None)


async def test_a_time_without_a_connection_asks_the_consumers_to_resync(stack):
    stack.start()
    await stack.open()
    assert stack.journal.orders == []
    await stack.stop()
    stack.start(stream_gap_s=0)
    await eventually(lambda: stack.journal.orders, what="ordered")
    [order] = stack.journal.orders
    assert (order.app, order.part) == ("default", "all")
    assert stack.value("dingbridge_stream_gaps_total", app="default") == 1


async def test_an_ingress_with_its_only_app_in_stream_mode_listens_to_nobody(processes, tmp_path):
    async with Simulator(settings(mode="stream")) as simulator:
        env = {"DINGTALK_MODE": "stream", "DINGTALK_API_BASE": simulator.base_url}
        nothing = {name: "" for name in ("DINGTALK_TOKEN", "DINGTALK_AES_KEY", "DINGTALK_OWNER_KEY")}
        kafka = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        ingress = IngressUnderTest(processes, tmp_path, env | nothing | kafka)
        await asyncio.to_thread(ingress.start)
        await eventually(lambda: len(simulator.gateway.connections) == 2)
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", ingress.port)
        simulator.act("hire", {"count": 1})
        await simulator.pusher.drain()
        assert simulator.pusher.counts["answered"] >= 1
        assert simulator.pusher.counts["failed"] == 0
        name = "dingbridge_callbacks_total"
        kept = await asyncio.to_thread(lambda: ingress.metric(name, outcome="kept", via="stream"))
        assert kept == simulator.pusher.counts["answered"]
        ingress.process.terminate()
        code = await asyncio.to_thread(ingress.process.wait, 30)
        assert code == 0
        assert simulator.gateway.connections == []
        assert KEY not in (log := ingress.process.log_text())
        assert SECRET not in log


async def test_a_peer_that_does_not_even_answer_pings_is_lost_and_may_have_been_gone_before(monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.stream.connection.HEARTBEAT_S", 0.2)
    released = asyncio.Event()

    async def frozen(request):
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await released.wait()
        return socket

    app = web.Application()
    app.router.add_get("/", frozen)
    async with TestServer(app) as server, aiohttp.ClientSession() as session, WatchedTasks() as tasks:
        socket = await connect(session, Opening(str(server.make_url("/")), "ticket"))
        connection = Connection("hr", socket, None, None, tasks)
        assert await asyncio.wait_for(connection.ended, PATIENCE_S) == "lost"
        assert connection.unnoticed_s == pytest.approx(0.3)
        await connection.close()
        released.set()


async def test_an_outage_of_the_call_that_opens_connections_is_survived_and_said(stack, monkeypatch):
    monkeypatch.setattr(client_module, "PAUSE_S", 0.01)
    waves = [{"kind": "http", "status": 503}, {"kind": "ban", "status": 400}]
    for wave in waves:  # the second is an HTML page
        stack.simulator.faults.add({"api": "POST /v1.0/gateway/connections/open", "times": 4, **wave})
    with structlog.testing.capture_logs() as logs:
        stack.start()
        await stack.open()
    reasons = [line["reason"] for line in logs if line["event"] == "stream.refused"]
    assert len(reasons) == stack.reconnects("refused") == 8
    assert ["HTTP 503. It passes by itself" in words for words in reasons] == [True] * 4 + [False] * 4
    assert all("HTTP 400 with an HTML page" in words and "proxy" in words for words in reasons[4:])
    assert (await stack.shown())["default"]["refused"] is None, "it is over"
    push = stack.push(1)
    await stack.simulator.pusher.drain()
    assert push.attempts[-1].outcome == "success"
