"""Runs a step of a consumer's life again and again while the world is down for it. Not for events: their
waiting is ``dispatch.py``'s."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from bridge.errors import BridgeError
from consumers.runtime.backoff import world_delay
from consumers.runtime.outcomes import WorldDown

log = structlog.get_logger(__name__)


def is_world_down(error: BaseException) -> bool:
    """Whether ``error`` says that the world is down: the runtime's own, or one of DingTalk's by its flag."""
    return isinstance(error, WorldDown) or bool(getattr(error, "world_down", False))


async def patiently(step: Callable[[], Awaitable[None]], consumer: str, stopping: asyncio.Event) -> None:
    """Await ``step`` until it returns, or ``stopping`` is set between two attempts. Raises what ``step``
    raises, unless that says that the world is down: then it is called again later."""
    failures = 0
    while not stopping.is_set():
        try:
            await step()
            return
        except BridgeError as error:
            if not is_world_down(error):
                raise
            failures += 1
            asked = error.after if isinstance(error, WorldDown) else getattr(error, "retry_after_s", None)
            wait = world_delay(failures, asked)
            reason = error.reason if isinstance(error, WorldDown) else type(error).__name__
            log.warning("consumer.waiting", consumer=consumer, reason=reason, retry_in_s=round(wait, 1))
            try:
                async with asyncio.timeout(wait):
                    await stopping.wait()
            except TimeoutError:
                continue
