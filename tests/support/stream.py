"""The load's pusher over the connections of Stream mode instead of HTTP, and what befalls connections."""

import time
from dataclasses import dataclass, field
from typing import Any

from dingbridge.simulator.pushes.gateway import Connection, Gateway
from dingbridge.simulator.server import Simulator
from tests.support.pusher import Pusher
from tests.support.waiting import eventually

OUTCOMES = {"no_status": "false success"}
"""Ours of the gateway's: code 200 alone would tell DingTalk to forget the event."""


@dataclass
class StreamPusher(Pusher):
    """Pushes each payload once over one of the open connections; ``no connection`` when there is none."""

    gateway: Gateway = field(kw_only=True)

    @classmethod
    def of(cls, simulator: Simulator) -> "StreamPusher":
        return cls(simulator.base_url, gateway=simulator.gateway)

    async def push(self, http: Any, number: int, plaintext: bytes, retries: int | None = None) -> str:
        began = time.monotonic()
        attempt = await self.gateway.attempt(b'{"eventId":"%d",' % number + plaintext[1:])
        outcome = "no connection" if attempt is None else attempt.outcome
        return self.note(number, OUTCOMES.get(outcome, outcome), began)

    @property
    def open(self) -> list[Connection]:
        """Connections over which events can be pushed."""
        return [c for c in self.gateway.connections if not c.leaving and not c.silent]

    async def cut(self, count: int) -> None:
        """So many connections are gone without a word, perhaps before an answer; waits for new ones."""
        await self._befalls(count, cut=count)

    async def disconnect(self, count: int) -> None:
        """So many are told to leave; waits for new ones."""
        await self._befalls(count, disconnect=count)

    async def fall_silent(self, _: int) -> None:
        """All are alive, and nothing arrives by them any more; waits for new ones."""
        await self._befalls(len(self.open), silence=True)

    async def _befalls(self, count: int, **what: Any) -> None:
        wanted = len(self.open)
        opened = self.gateway.counts["opened"]
        await self.gateway.set(**what)
        await eventually(
            lambda: self.gateway.counts["opened"] >= opened + count and len(self.open) == wanted,
            what="there are as many connections again",
        )
