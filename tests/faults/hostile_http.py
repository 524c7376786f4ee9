"""What the tests of hostile requests share: requests by hand, a good push, what a refusal is."""

from urllib.parse import urlencode

from tests.integration.test_ingress_http import Listener, push
from tests.support.hostile import CLASSES, Reply

MARKER = "Do-Not-Log-Me"
POST = "POST /callback HTTP/1.1"


def check(reply: Reply, request: object) -> None:
    """A refusal: its class, and no more; or aiohttp's own 400 for what it could not parse."""
    if reply.status == 400 and reply.headers["content-type"].startswith("text/plain"):
        return
    assert reply.status in CLASSES, request
    assert reply.body == CLASSES[reply.status], request
    assert reply.headers["server"] == "callback"
    assert set(reply.headers) <= {"content-type", "content-length", "date", "connection", "allow", "server"}


def request(line: str = POST, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: x", *headers, "", ""]).encode("latin-1") + body


def raw_line(listener: Listener) -> bytes:
    query, body = push()
    return request(f"POST /callback?{urlencode(query)} HTTP/1.1", f"Content-Length: {len(body)}", body=body)
