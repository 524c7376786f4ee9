"""A system's consumer in memory, over real HTTP: what arrives, where it never goes, how each end is read."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ThreadedResolver, connector, web
from structlog.testing import capture_logs

from dev.servers import free_port
from dingbridge import Event, Outcome
from dingbridge.consumers.forward.consumer import Forward, consumer_of
from dingbridge.consumers.forward.signature import webhook_id
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import decode
from dingbridge.ssrf import AddressGuard
from dingbridge.testing import MemoryRuntime
from tests.integration.forward_support import Receiver, receiver
from tests.support import self_signed
from tests.unit.forward.support import SECRET, event, system

LOOPBACK = AddressGuard([ip_network("127.0.0.0/8"), ip_network("::1/128")])


class Running:
    def __init__(self, runtime: MemoryRuntime, forward: Forward) -> None:
        self.runtime, self.forward = runtime, forward

    async def deliver(self, one: Event | None = None, **more: str) -> Outcome:
        return await self.runtime.deliver(one or event(), **more)

    def value(self, metric: str, **labels: str) -> float:
        metric = f"dingbridge_forward_{metric}"
        return self.forward.registry.get_sample_value(metric, {"system": "a", **labels}) or 0.0


@asynccontextmanager
async def forwarding(url: str, **declared: Any) -> AsyncIterator[Running]:
    forward = consumer_of("a", system(**{"url": url, "rate": 10_000, **declared}), LOOPBACK)()
    async with MemoryRuntime(forward) as runtime:
        yield Running(runtime, forward)


async def ended(url: str, **declared: Any) -> tuple[str, str]:
    """The outcome of one request, and its reason in the log."""
    with capture_logs() as logs:
        async with forwarding(url, **declared) as running:
            await running.deliver()
    [entry] = [one for one in logs if one["event"] in ("forward.taken", "forward.not_taken")]
    return entry.get("outcome", "taken"), entry.get("reason", "")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM_A_SECRET", SECRET)


@pytest.fixture
async def system_a() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


async def test_what_arrives_is_signed_and_as_it_was_sent(
    system_a: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver verifies each signature, by the specification's library."""
    monkeypatch.setenv("SYSTEM_A_TOKEN", "Bearer t")
    system_a.answer = lambda got: web.Response(headers={"Set-Cookie": "a=b; Path=/"})
    sent = event(UserId=["张三"])
    async with forwarding(system_a.url, headers_from={"Authorization": "SYSTEM_A_TOKEN"}) as running:
        for replay_id in ("", "run-1"):
            outcome = await running.deliver(sent, replay_id=replay_id)
            assert (outcome.kind, outcome.asked) == ("done", {"forward-a"})
    first, again = system_a.got
    assert decode(first.body) == sent
    assert first.id == again.id == webhook_id(sent)
    assert first.headers["content-type"] == "application/cloudevents+json"
    assert first.headers["authorization"] == "Bearer t"
    assert first.headers["user-agent"] == "dingbridge"
    assert "dingbridge-replay-id" not in first.headers
    assert again.headers["dingbridge-replay-id"] == "run-1"
    assert "cookie" not in again.headers


async def test_what_is_filtered_is_done_without_a_request(system_a: Receiver) -> None:
    declared = {"types": ["bpms_instance_change"], "process_codes": ["PROC-1"]}
    async with forwarding(system_a.url, **declared) as running:
        outcome = await running.deliver(
            event("bpms_instance_change", processInstanceId="pi", processCode="PROC-2")
        )
        assert (outcome.kind, outcome.asked) == ("done", frozenset())
        assert running.value("deliveries_total", outcome="filtered", status="none") == 1
    assert system_a.got == []


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (202, "taken", "done"),
        (422, "refused", "reject"),
        (500, "failed", "unavailable"),
        (404, "not_found", "unavailable"),
        (401, "unauthorized", "unavailable"),
        (503, "unavailable", "unavailable"),
    ],
)
async def test_what_becomes_of_an_event(system_a: Receiver, status: int, kind: str, outcome: str) -> None:
    """The guide's table: done, dead letters, or tried again."""
    system_a.answer = lambda got: web.Response(status=status, headers={"Retry-After": "33"})
    async with forwarding(system_a.url) as running:
        found = await running.deliver()
        assert found.kind == outcome
        assert found.after == (33 if outcome == "unavailable" else None)
        assert outcome == "done" or f"system a: it answered {status}" in found.error.reason  # type: ignore[union-attr]
        assert running.value("deliveries_total", outcome=kind, status=f"{status // 100}xx") == 1
        assert running.value("seconds_count") == 1
        assert running.value("paused") == 0, "it may be this one alone"
        await running.deliver(event(UserId=["u2"]))
        assert running.value("paused") == (outcome == "unavailable")
        system_a.answer = lambda got: 200
        assert (await running.deliver()).kind == "done"  # nothing but the answer decides
        assert running.value("paused") == 0


async def test_an_unclassified_event_in_dingtalks_form_is_given_up(system_a: Receiver) -> None:
    async with forwarding(system_a.url, body="dingtalk") as running:
        record = to_records(Received(1, "j", 1700000000500, "default", "http", b"no json"))[0]
        assert (await running.runtime.deliver(record)).kind == "reject"
    assert system_a.got == []


async def test_each_request_is_logged_without_url_or_content(
    system_a: Receiver, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses = iter((500, 200))
    system_a.answer = lambda got: web.Response(status=next(statuses), text="zhangsan")
    async with forwarding(system_a.url + "?key=t0ken") as running:
        for _ in range(2):
            await running.deliver(event(UserId=["u1"], name="zhangsan"))
    written = caplog.text + "".join(capsys.readouterr())
    for word in ("forward.not_taken", "forward.taken", "user_modify_org:e1/u1", "http://127.0.0.1"):
        assert word in written
    for private in ("/hook", "t0ken", "zhangsan", SECRET):
        assert private not in written


@pytest.mark.parametrize("status", [302, 307])
async def test_no_redirect_is_followed(system_a: Receiver, status: int) -> None:
    async with receiver() as elsewhere:
        system_a.answer = lambda got: web.Response(status=status, headers={"Location": elsewhere.url})
        kind, words = await ended(system_a.url)
        assert kind == "not_found"
        assert "redirects are not followed" in words
        assert elsewhere.got == []


class Nowhere(ThreadedResolver):
    """DNS that knows no name, at once: real resolvers without a network take their time to say so."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.close()


async def babbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    writer.close()


async def never_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 202 Accepted\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()


async def test_how_a_request_ends_without_an_answer(
    system_a: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "DefaultResolver", Nowhere)
    system_a.answer = system_a.hang
    found = {
        "closed": await ended(f"http://127.0.0.1:{free_port()}/"),
        "no name": await ended("http://no-such-name.invalid/"),
        "hangs": await ended(system_a.url, timeout_s=0.3),
    }
    for behaviour in (breaks, babbles, never_ends):
        async with await asyncio.start_server(behaviour, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            found[behaviour.__name__] = await ended(f"http://127.0.0.1:{port}/", timeout_s=60)
            if behaviour is not never_ends:
                found[f"{behaviour.__name__}, TLS"] = await ended(f"https://127.0.0.1:{port}/")
    assert {name: kind for name, (kind, _) in found.items()} == {
        "closed": "unavailable",
        "no name": "unavailable",
        "hangs": "failed",
        "breaks": "failed",
        "breaks, TLS": "unavailable",
        "babbles": "failed",
        "babbles, TLS": "unavailable",
        "never_ends": "taken",
    }
    assert found["hangs"][1] == "no answer within 0.3 s"
    assert not [words for _, words in found.values() if "http" in words]


async def test_a_private_certificate_is_trusted_when_it_is_named_and_only_then(tmp_path: Path) -> None:
    both, certificate = self_signed.write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    async with receiver(context) as system_a:
        kind, words = await ended(system_a.url)
        assert kind == "unavailable"
        assert "TLS failed; its certificate may not be trusted here (ca_file)" in words
        assert await ended(system_a.url, ca_file=str(certificate)) == ("taken", "")
        # it is for 127.0.0.1, not for whoever answers there
        by_name = system_a.url.replace("127.0.0.1", "localhost")
        assert (await ended(by_name, ca_file=str(certificate)))[0] == "unavailable"
        assert len(system_a.got) == 1
