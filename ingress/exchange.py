"""One request and its answer, as they stand on the wire; what they mean is decided in
``ingress/callback.py``."""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import StreamReader
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping

_NONE: Final = CIMultiDictProxy(CIMultiDict[str]())


class Request:
    """A request whose head has come. ``content`` is its body, of which more may be on its way."""

    __slots__ = ("_message", "content", "transport")

    def __init__(self, message: RawRequestMessage | None, content: StreamReader, transport: Any) -> None:
        """``message`` is None for what could not be parsed; ``transport`` is None when the peer had gone."""
        self._message, self.content, self.transport = message, content, transport

    @property
    def method(self) -> str:
        return self._message.method if self._message is not None else ""

    @property
    def path(self) -> str:
        """Decoded, without the query."""
        return self._message.url.path if self._message is not None else ""

    @property
    def query(self) -> MultiMapping[str]:
        """Decoded."""
        return self._message.url.query if self._message is not None else _NONE

    @property
    def content_length(self) -> int | None:
        """What the head says that the body has, in bytes."""
        text = self.headers.get("Content-Length")
        return int(text) if text else None

    @property
    def remote(self) -> str | None:
        """The peer's address."""
        peer = self.transport.get_extra_info("peername") if self.transport is not None else None
        return str(peer[0]) if peer else None

    @property
    def headers(self) -> MultiMapping[str]:
        return self._message.headers if self._message is not None else _NONE

    @property
    def last(self) -> bool:
        """Whether its connection can carry no other after this one."""
        message = self._message
        return message is None or message.should_close or message.upgrade or message.version < (1, 1)

    def go_on(self) -> None:
        """Tell a sender who waits for that to send the body (RFC 9110, 10.1.1): it is going to be read."""
        message = self._message
        if message is None or message.version < (1, 1) or self.content.total_bytes or self.transport is None:
            return
        if message.headers.get("Expect", "").lower() == "100-continue" and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class Answer:
    """A JSON answer, which names no software. It may be given more than once, within a second."""

    __slots__ = ("_body", "_going_on", "_headers", "status")

    def __init__(self, body: bytes, status: int = HTTPStatus.OK, headers: Mapping[str, str] = _NONE) -> None:
        self.status, self._body, self._headers = status, body, headers
        self._going_on = b""

    def wire(self, *, close: bool, head_only: bool = False) -> bytes:
        """Its bytes. ``close`` says that no other will follow; to HEAD the body is not sent."""
        if close or head_only:
            return self._head(close) + (b"" if head_only else self._body)
        if not self._going_on:
            self._going_on = self._head(close) + self._body
        return self._going_on

    def _head(self, close: bool) -> bytes:
        lines = [
            f"HTTP/1.1 {int(self.status)} {HTTPStatus(self.status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(self._body)}",
            f"Date: {formatdate(usegmt=True)}",  # RFC 9110, 6.6.1
            *(f"{name}: {value}" for name, value in self._headers.items()),
            *(["Connection: close"] if close else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii")


def refusal(outcome: str, status: int, headers: Mapping[str, str] = _NONE) -> Answer:
    """An answer that names the class of what is wrong, and nothing else."""
    return Answer(orjson.dumps({"error": outcome}), status, headers)
