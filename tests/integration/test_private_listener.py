"""What the private listener takes from whom: a page in the operator's browser is not the operator."""

import asyncio
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from dingbridge.cli import terminal
from dingbridge.errors import BridgeError
from dingbridge.health_server import AdminServer, json_response
from dingbridge.ingress.admin.cli import ask
from dingbridge.ingress.admin.routes import routes
from dingbridge.simulator import cli as simulator

TOKEN = "only-the-owner-knows"


JSON = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def listener():
    done: list[str] = []

    async def change(request):
        done.append(request.method)
        return json_response({"done": True})

    async def ready():
        return True, {}

    changes = [web.post("/journal/drain", change), web.delete("/journal/drain", change)]
    server = AdminServer(
        "127.0.0.1",
        0,
        CollectorRegistry(),
        ready=ready,
        routes=changes,
        token=TOKEN,
        names=["bridge.example.com", ".svc"],
    )
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http:
        yield http, server.port, done
    await server.stop()


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "status"),
    {
        "the command line": (JSON, 200),
        "by a name of this network": ({**JSON, "Host": "ingress:{port}"}, 200),
        "a page of its own": ({**JSON, "Origin": "http://127.0.0.1:{port}"}, 200),
        "a page of somebody else": ({**JSON, "Origin": "https://evil.example"}, 403),
        "a page of another port": ({**JSON, "Origin": "http://127.0.0.1:1"}, 403),
        "a page without an origin": ({**JSON, "Origin": "null"}, 403),
        "DNS rebinding": (
            {**JSON, "Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
            403,
        ),
        "another host": ({**JSON, "Host": "evil.example:{port}"}, 403),
        "by a name that is set": ({**JSON, "Host": "bridge.example.com:{port}"}, 200),
        "a form": ({**JSON, "Content-Type": "application/x-www-form-urlencoded"}, 415),
        "a simple request": ({**JSON, "Content-Type": "text/plain"}, 415),
        "another user of this machine": ({"Content-Type": "application/json"}, 401),
        "who guesses the token": ({**JSON, "Authorization": "Bearer x"}, 401),
        "the token without its scheme": ({**JSON, "Authorization": TOKEN}, 401),
    }.values(),
    ids=lambda value: None,
)
async def test_only_json_by_an_address_of_ours_changes_anything(listener, method, headers, status):
    http, port, done = listener
    filled = {name: value.format(port=port) for name, value in headers.items()}
    async with http.request(method, "/journal/drain", data=b"{}", headers=filled) as answer:
        assert answer.status == status
    assert done == ([method] if status == 200 else [])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("ingress", 200),
        ("bridge.example.com", 200),
        ("ingress.monitoring.svc", 200),
        ("evil.example", 403),
        ("bridge.example.com.evil.example", 403),
    ],
)
async def test_looking_needs_a_name_of_ours_and_no_token(listener, host, status):
    http, port, _ = listener
    for path in ("/healthz", "/readyz", "/metrics"):
        async with http.get(path, headers={"Host": f"{host}:{port}", "Origin": "http://a"}) as answer:
            assert answer.status == status
            if status == 403:
                assert "ADMIN_NAMES" in (await answer.json())["error"]


async def test_what_is_changed_leaves_a_line_and_so_does_an_attempt(listener):
    http, _, _ = listener
    with structlog.testing.capture_logs() as lines:
        for headers in (JSON, {"Content-Type": "application/json"}):
            async with http.post("/journal/drain", data=b"{}", headers=headers) as answer:
                await answer.read()
        async with http.get("/metrics") as answer:
            await answer.read()
        async with http.post("/nothing", data=b"{}", headers=JSON) as answer:
            assert answer.status == 404
    said = [(line["event"], line["path"], line["remote"], line.get("result")) for line in lines]
    assert said == [
        ("admin.changed", "/journal/drain", "127.0.0.1", 200),
        ("admin.refused", "/journal/drain", "127.0.0.1", None),
    ]


# -- What commands say that ask a running process over HTTP: where another one answers, where a proxy is set


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n404: Not Found"


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"


LIST = b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n[]"


def done(found: dict[str, object]) -> bytes:
    body = json.dumps(found).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port that answers one connection with ``answer``."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize("answer", [NOT_FOUND, PAGE, LIST, b"-ERR unknown command\r\n"], ids=lambda a: a[:12])
def test_what_is_no_ingress_is_named_with_the_remedy(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a consumer's private listener, which ADMIN_PORT may name by mistake."""
    with answering(answer) as port:
        monkeypatch.setenv("ADMIN_PORT", str(port))
        with pytest.raises(BridgeError, match=rf"127\.0\.0\.1:{port}.*set ADMIN_HOST and ADMIN_PORT"):
            ask("retry", {})


def test_an_ingress_that_takes_longer_is_left_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that drains a large folder."""
    monkeypatch.setattr(terminal, "_ANSWER_WITHIN_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("ADMIN_PORT", str(server.getsockname()[1]))
        with pytest.raises(BridgeError, match=r"has not answered.*goes on.*run the same command again"):
            ask("drain", {})


async def test_a_stop_that_the_library_does_not_end_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ready() -> tuple[bool, dict[str, object]]:
        return True, {}

    server = AdminServer("127.0.0.1", 0, CollectorRegistry(), ready=ready)
    await server.start()
    with monkeypatch.context() as patch:
        patch.setattr(web.AppRunner, "cleanup", lambda self: asyncio.Event().wait())
        await asyncio.wait_for(server.stop(0.05), 10)
    await server.stop()


def test_no_proxy_of_the_environment_stands_between_commands_and_processes_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A company's http_proxy cannot reach this machine's loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, nobody)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # one that was made before knows no proxy
    with answering(done({"kept": 3})) as port:
        monkeypatch.setenv("ADMIN_PORT", str(port))
        assert ask("drain", {}) == {"kept": 3}
    with answering(done({"events": [{"payload": {"EventType": "user_add_org"}}]})) as port:
        simulator.act("hire", [], f"http://127.0.0.1:{port}")
    assert json.loads(capsys.readouterr().out) == {"EventType": "user_add_org"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"a":', {}),
        (b"\xff", {}),
        (b"[]", {}),
        (b"[" * 100_000, {}),
        (b"{}", {"Content-Type": "application/json; charset=nope"}),
        (b"{}", {"Content-Type": "application/json; charset=punycode"}),
        (b"no gzip", {"Content-Encoding": "gzip"}),
    ],
    ids=lambda value: None,
)
async def test_a_body_that_is_no_json_object_is_the_senders_mistake(body, headers):
    async def ready():
        return True, {}

    async def verb(options):
        return options

    server = AdminServer(
        "127.0.0.1", 0, CollectorRegistry(), ready=ready, routes=routes({"drain": verb}), token=TOKEN
    )
    await server.start()
    try:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http,
            http.post("/journal/drain", data=body, headers=JSON | headers) as answer,
        ):
            assert answer.status == 400
            assert "JSON object" in (await answer.json())["error"]
    finally:
        await server.stop()
