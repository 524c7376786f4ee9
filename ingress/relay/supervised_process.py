"""A child process that is started again for as long as the ingress runs: the publisher, a worker.

It runs ``python -m <module>``, tells things as JSON objects on its standard output, a line each, and stops
when its standard input closes. Whatever ends it, and also when the machine has no process, memory or
descriptor left to start one, it is tried again. What it says means something to its owner alone.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson
import structlog

log = structlog.get_logger(__name__)

RESTART_S = (0.1, 5.0)
"""How long it waits before it tries again, first and at most."""
_LIVED_S = 60.0
"""Whatever ran for so long is tried again at once, as at first."""

Gone = Callable[[int | OSError, float], None]
"""Hears the exit code, or why it could not be started, and in how many seconds it is tried again."""


class Respawned:
    """``hear`` gets each object that the child tells, ``gone`` hears of every end but the one asked for."""

    def __init__(
        self,
        module: str,
        environment: Mapping[str, str],
        hear: Callable[[dict[str, Any]], None],
        gone: Gone,
        *,
        own_session: bool = False,
    ) -> None:
        """``own_session``: Ctrl-C on the terminal is not for the child."""
        self._module, self._environment, self._own_session = module, dict(environment), own_session
        self._hear, self._gone = hear, gone
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether there is a process now."""
        return self._process is not None and self._process.returncode is None

    def start(self) -> None:
        """Begin, in the loop that runs."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def tell(self, line: bytes, *, unless_busy: bool = False) -> None:
        """Write ``line`` to the child, if there is one; ``unless_busy``: not while it reads nothing."""
        process = self._process
        if not self.running or process is None or process.stdin is None or process.stdin.is_closing():
            return
        if not unless_busy or not process.stdin.transport.get_write_buffer_size():
            process.stdin.write(line)

    def kill(self) -> None:
        """End this one with SIGKILL; another is started."""
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self, timeout_s: float) -> None:
        """Close its standard input and wait; what has not ended after ``timeout_s`` is killed."""
        self._stopping.set()
        self._close_input()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=timeout_s)
        if late and self._process is not None:
            self.kill()
            await self._process.wait()
        self._task.cancel()
        await asyncio.wait([self._task])

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = RESTART_S[0]
        while not self._stopping.is_set():
            began = loop.time()
            why: int | OSError
            try:
                process = await self._spawn()
            except OSError as error:
                why = error
            else:
                await self._listen(process)
                why = await process.wait()
            if self._stopping.is_set():
                return
            if loop.time() - began > _LIVED_S:
                delay_s = RESTART_S[0]
            self._gone(why, delay_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()
            delay_s = min(delay_s * 2, RESTART_S[1])

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=self._own_session,
        )
        if self._stopping.is_set():
            self._close_input()
        return self._process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for above
        while True:
            try:
                if not (line := await process.stdout.readline()):
                    return
                self._hear(orjson.loads(line))
            except (ValueError, TypeError, LookupError):  # too long, no JSON, or not what was agreed
                log.warning("child.line_ignored", module=self._module)
