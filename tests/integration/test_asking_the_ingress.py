"""What commands say that ask a running process over HTTP: where another one answers, where a proxy is set."""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin import client
from dingbridge.simulator import cli as simulator

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
            client.ask("retry", {})


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
    with answering(done({"deleted": 3})) as port:
        monkeypatch.setenv("ADMIN_PORT", str(port))
        assert client.ask("prune", {}) == {"deleted": 3}
    with answering(done({"events": [{"payload": {"EventType": "user_add_org"}}]})) as port:
        simulator.act("hire", [], f"http://127.0.0.1:{port}")
    assert json.loads(capsys.readouterr().out) == {"EventType": "user_add_org"}
