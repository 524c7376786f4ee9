"""Waiting for a condition instead of for a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

POLL_S = 0.05

PATIENCE_S = 90.0
"""How long something may take that takes a second: on a machine that does ten things besides."""

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "") -> T:
    """Calls ``condition`` until it returns something true, and returns that.

    Blocks: for plain tests; in an async test use ``eventually``. Raises ``TimeoutError``.
    """
    deadline = time.monotonic() + timeout_s
    asked = time.monotonic()
    while not (value := condition()):
        if (now := time.monotonic()) > deadline:
            raise TimeoutError(_words(condition, timeout_s, what, value))
        time.sleep(_pause_s(now - asked))
        asked = time.monotonic()
    return value


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], timeout_s: float = PATIENCE_S, what: str = ""
) -> T: ...


@overload
async def eventually(condition: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "") -> T: ...


async def eventually(condition: Callable[[], Any], timeout_s: float = PATIENCE_S, what: str = "") -> Any:
    """The same for an async test; ``condition`` may be a plain or an async function."""
    deadline = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        outcome = condition()
        value = await outcome if inspect.isawaitable(outcome) else outcome
        if value:
            return value
        if (now := time.monotonic()) > deadline:
            raise TimeoutError(_words(condition, timeout_s, what, value))
        await asyncio.sleep(_pause_s(now - asked))


def _pause_s(took_s: float) -> float:
    """Until the next question, in s: a condition that opens a client or reads tables must not take the
    processor from what it waits for."""
    return max(POLL_S, min(2 * took_s, 1.0))


def _words(condition: Callable[..., object], timeout_s: float, what: str, value: object) -> str:
    name = what or getattr(condition, "__qualname__", repr(condition))
    return f"not within {timeout_s:g} s: {name} (last seen: {value!r})"
