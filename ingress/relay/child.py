"""The relay as the ingress's child: started, started again when it ends, and stopped with the ingress.

It hears of our end by its standard input, which closes also when we are killed.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

log = structlog.get_logger(__name__)

RELAY: Final = (sys.executable, "-m", "ingress.relay", "--stop-at-eof")

RESTART_S = (0.1, 5.0)
"""How long a process that ended is waited for before it is started again, first and at most."""
_LIVED_S = 60.0
"""Whatever ran for so long is started again at once, as at first."""


class ChildProcess:
    """``command``, kept running. Whatever ends it, and also when the machine has no process, memory or
    descriptor left to start one, it is tried again, after growing delays."""

    def __init__(self, command: Sequence[str], on_unexpected_exit: Callable[[int | OSError], None]) -> None:
        """``on_unexpected_exit`` gets the exit code, or why it could not be started."""
        self._command, self._on_unexpected_exit = command, on_unexpected_exit
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Keep it running until ``stop``; cancelled, it is killed."""
        loop = asyncio.get_running_loop()
        self._ended.clear()
        delay_s = RESTART_S[0]
        try:
            while not self._stopping.is_set():
                began = loop.time()
                why = await self._run_once()
                if self._stopping.is_set():
                    return
                if loop.time() - began > _LIVED_S:
                    delay_s = RESTART_S[0]
                log.error("relay.ended", exit_code=why, again_in_s=delay_s)
                self._on_unexpected_exit(why)
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._stopping.wait()
                delay_s = min(delay_s * 2, RESTART_S[1])
        finally:
            await self._kill()
            self._ended.set()

    async def _run_once(self) -> int | OSError:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE
            )
        except OSError as error:
            return error
        if self._stopping.is_set():
            self._close_input()
        code = await self._process.wait()
        self._process = None
        return code

    async def stop(self, timeout_s: float) -> None:
        """Ask it to end, and end ``run``; what has not ended after ``timeout_s`` is killed."""
        self._stopping.set()
        self._close_input()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            await self._kill()

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _kill(self) -> None:
        if (process := self._process) is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
