"""Notices an event loop that stands still: without heartbeats the member loses its partitions."""

import asyncio
import time

import structlog

log = structlog.get_logger(__name__)

BLOCKED_S = 3
"""An event loop that stood still for longer, in s, is logged: after ``session_timeout_ms`` the group gives
the partitions to another member, which repeats what was under way."""


async def sleep_and_watch(wait_s: float, consumer: str) -> None:
    """Sleep for ``wait_s`` (s), and log a warning if it took much longer."""
    began = time.monotonic()
    await asyncio.sleep(wait_s)
    if (late_s := time.monotonic() - began - wait_s) > BLOCKED_S:
        log.warning(
            "consumer.loop_blocked",
            consumer=consumer,
            for_s=round(late_s, 1),
            meaning="nothing ran for so long: a handler calls something that blocks instead of awaiting it "
            "(asyncio.to_thread helps), or the process was frozen",
        )
