"""One request of forward, over real HTTP: what arrives, where it never goes, and how each end is read."""

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
from standardwebhooks import Webhook, WebhookVerificationError

from dingbridge.consumers.forward.body import body_of
from dingbridge.consumers.forward.delivery import Sender
from dingbridge.consumers.forward.policy import Answer
from dingbridge.consumers.forward.settings import Credentials
from dingbridge.consumers.forward.signature import key_of, webhook_id
from dingbridge.events.event import Event, decode
from dingbridge.ssrf import AddressGuard
from tests.integration.forward_support import SECRET, closed_port, receiver
from tests.integration.worker_support import event_record
from tests.support import self_signed
from tests.unit.forward.support import system

LOOPBACK = AddressGuard([ip_network("127.0.0.0/8"), ip_network("::1/128")])


@asynccontextmanager
async def sending(url: str, headers: dict[str, str] | None = None, **declared: Any) -> AsyncIterator[Sender]:
    sender = Sender(system(url=url, **declared), Credentials((key_of(SECRET),), headers or {}), LOOPBACK)
    await sender.open()
    try:
        yield sender
    finally:
        await sender.close()


async def post(sender: Sender, event: Event | None = None) -> Answer:
    event = event or decode(event_record("e1", "u1").value)
    body = body_of(event, "cloudevents")
    return await sender.post(webhook_id(event), *body, replay_id="run-1")


async def post_to(url: str, **more: Any) -> Answer:
    async with sending(url, **more) as sender:
        return await post(sender)


async def test_what_arrives_is_signed_and_as_it_was_sent() -> None:
    event = decode(event_record("e1", "张三").value)
    async with (
        receiver() as system_a,
        sending(system_a.url, headers={"Authorization": "Bearer t"}) as sender,
    ):
        assert (await post(sender, event)).kind == "taken"
        [got] = system_a.got
    assert Webhook(SECRET).verify(got.body, got.headers)["subject"] == "张三"
    assert decode(got.body) == event
    assert got.id == webhook_id(event)
    assert got.headers["content-type"] == "application/cloudevents+json"
    assert got.headers["authorization"] == "Bearer t"
    assert got.headers["dingbridge-replay-id"] == "run-1"
    assert got.headers["user-agent"] == "dingbridge"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET[:-1] + "v").verify(got.body, got.headers)


@pytest.mark.parametrize("status", [302, 307])
async def test_no_redirect_is_followed(status: int) -> None:
    async with receiver() as system_a, receiver() as elsewhere:
        headers = {"Location": elsewhere.url}
        system_a.answer = lambda got: web.Response(status=status, headers=headers)
        answer = await post_to(system_a.url)
        assert answer.kind == "not_found"
        assert "redirects are not followed" in answer.words
        assert len(system_a.got) == 1
        assert elsewhere.got == []


async def test_no_proxy_of_the_environment_is_asked_and_no_cookie_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with receiver() as system_a, receiver() as proxy, sending(system_a.url) as sender:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        system_a.answer = lambda got: web.Response(headers={"Set-Cookie": "a=b; Path=/"})
        assert (await post(sender)).kind == "taken"
        assert (await post(sender)).kind == "taken"
        assert ["cookie" in got.headers for got in system_a.got] == [False, False]
        assert proxy.got == []


class Nowhere(ThreadedResolver):
    """DNS that knows no name, at once: real resolvers without a network take their time to say so."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_how_a_request_ends_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "DefaultResolver", Nowhere)

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

    answers = {}
    async with await asyncio.start_server(never_ends, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answers["never ends"] = await post_to(f"http://127.0.0.1:{port}/", timeout_s=60)
    for name, behaviour in (("breaks", breaks), ("babbles", babbles)):
        async with await asyncio.start_server(behaviour, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            answers[name] = await post_to(f"http://127.0.0.1:{port}/")
            answers[f"{name}, TLS"] = await post_to(f"https://127.0.0.1:{port}/")
    answers["closed"] = await post_to(f"http://127.0.0.1:{closed_port()}/")
    answers["no name"] = await post_to("http://no-such-name.invalid/")
    async with receiver() as system_a:
        system_a.answer = system_a.hang
        answers["hangs"] = await post_to(system_a.url, timeout_s=0.3)
    kinds = {name: answer.kind for name, answer in answers.items()}
    assert kinds == {
        "never ends": "taken",
        "breaks": "failed",
        "breaks, TLS": "unavailable",
        "babbles": "failed",
        "babbles, TLS": "unavailable",
        "closed": "unavailable",
        "no name": "unavailable",
        "hangs": "failed",
    }
    assert answers["hangs"].words == "no answer within 0.3 s"
    for answer in answers.values():
        assert "http" not in answer.words


async def test_a_private_certificate_is_trusted_when_it_is_named_and_only_then(tmp_path: Path) -> None:
    both, certificate = self_signed.write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    async with receiver(context) as system_a:
        answer = await post_to(system_a.url)
        assert answer.kind == "unavailable"
        assert "TLS failed; its certificate may not be trusted here (ca_file)" in answer.words
        assert (await post_to(system_a.url, ca_file=str(certificate))).kind == "taken"
        # it is for 127.0.0.1, not for whoever answers there
        by_name = system_a.url.replace("127.0.0.1", "localhost")
        assert (await post_to(by_name, ca_file=str(certificate))).kind == "unavailable"
        assert len(system_a.got) == 1
