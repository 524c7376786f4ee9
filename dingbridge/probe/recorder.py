"""The Open API's replies as they came, before the client reads them: what a session received, in memory."""

import json
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp

from dingbridge.dingtalk.api.shapes import SHAPES


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. ``api`` is empty where our table has none of this path. ``body`` is its JSON, ``None`` where
    it is none."""

    api: str
    status: int
    body: Any = field(repr=False)
    took_s: float

    @property
    def succeeded(self) -> bool:
        """Whether it is a success, on either host."""
        if not isinstance(self.body, dict) or self.status >= 300:
            return False
        return self.body.get("errcode") in (0, "0") if "errcode" in self.body else "code" not in self.body


class Recorder:
    """``session`` is an aiohttp session whose replies are kept in ``replies``, the oldest first."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.session = aiohttp.ClientSession(
            headers={"User-Agent": "dingbridge"}, trace_configs=[self._traced()]
        )

    def _traced(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()

        async def began(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
            context.began, context.status = time.monotonic(), 0

        async def answered(
            _: aiohttp.ClientSession, context: SimpleNamespace, seen: aiohttp.TraceRequestEndParams
        ) -> None:
            context.status = seen.response.status

        async def received(
            _: aiohttp.ClientSession,
            context: SimpleNamespace,
            seen: aiohttp.TraceResponseChunkReceivedParams,
        ) -> None:
            try:
                body = json.loads(seen.chunk)
            except (ValueError, RecursionError):
                body = None
            took_s = time.monotonic() - context.began
            self.replies.append(Reply(name_of(seen.url.path), context.status, body, took_s))

        config.on_request_start.append(began)
        config.on_request_end.append(answered)
        config.on_response_chunk_received.append(received)
        return config


def name_of(path: str) -> str:
    """The name that the client gives to the call of this path, if it is in the table; else nothing, since a
    path may hold ids. What stands before it is the host's, or a proxy's."""
    return next((api for api in SHAPES if path.endswith(f"/{api}")), "")
