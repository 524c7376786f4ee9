"""HTTP between the client and the simulator without sockets: aiohttp at both ends, and bytes between.

A request of a process that dies under way still arrives; its answer does not. ``Wire.down`` cuts everything,
and refuses what is new.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from tests.lives.mortal import Mortal


class End(asyncio.Transport):
    """One end of a connection; ``peer`` is the other. Bytes take ``latency_s()``, in their order."""

    def __init__(
        self,
        protocol: Any,
        latency_s: Callable[[], float],
        on_write: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self._protocol, self._latency_s, self._on_write = protocol, latency_s, on_write
        self._loop = asyncio.get_running_loop()
        self._arrives = 0.0
        self._held: list[bytes] | None = None
        self._closing = self._lost = False
        self.peer: End

    def write(self, data: Any) -> None:
        self._on_write()
        if not self._closing:
            self._send(self.peer._arrived, bytes(data))

    def _send(self, act: Callable[..., None], *args: Any) -> None:
        self._arrives = max(self._arrives + 1e-6, self._loop.time() + self._latency_s())
        self._loop.call_at(self._arrives, act, *args)

    def _arrived(self, data: bytes) -> None:
        if self._held is not None:
            self._held.append(data)
        elif not self._lost:
            self._protocol.data_received(data)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._send(self.peer._hung_up)
            self._loop.call_soon(self._hung_up)

    def abort(self) -> None:
        self.close()

    def _hung_up(self) -> None:
        if not self._lost:
            self._lost = True
            if not self._closing:
                self._closing = True
            self._protocol.connection_lost(None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._held = [] if self._held is None else self._held

    def resume_reading(self) -> None:
        held, self._held = self._held or [], None
        for data in held:
            self._arrived(data)

    def is_reading(self) -> bool:
        return self._held is None

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol


class Wire:
    """The way to one server. ``server`` makes the protocol of a new connection."""

    def __init__(self, server: Callable[[], Any]) -> None:
        self._server = server
        self._ends: list[End] = []
        self.is_down = False

    def down(self) -> None:
        self.is_down = True
        for end in self._ends:
            end.close()
        self._ends.clear()

    def up(self) -> None:
        self.is_down = False

    def connector(self, process: Mortal) -> aiohttp.BaseConnector:
        """For a client session of ``process``."""
        return _Connector(self, process)

    def connect(self, protocol: Any, process: Mortal) -> None:
        near = End(protocol, process.latency_s, process.effect)
        far = End(served := self._server(), process.latency_s)
        near.peer, far.peer = far, near
        self._ends = [end for end in self._ends if not end.is_closing()] + [far]
        process.on_death.append(near.close)
        served.connection_made(far)
        protocol.connection_made(near)


class _Connector(aiohttp.BaseConnector):
    def __init__(self, wire: Wire, process: Mortal) -> None:
        super().__init__(force_close=False)
        self._wire, self._process = wire, process

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        await self._process.answered()
        if self._wire.is_down:
            raise aiohttp.ClientConnectorError(req.connection_key, OSError(111, "Connection refused"))
        protocol = ResponseHandler(self._loop)
        self._wire.connect(protocol, self._process)
        return protocol
