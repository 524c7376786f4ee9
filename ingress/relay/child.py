"""The relay as the ingress's child: started, started again when it ends, and stopped with the ingress.

It ends when its standard input closes: the kernel closes that also when the ingress is killed.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

log = structlog.get_logger(__name__)

RELAY: Final = (sys.executable, "-m", "dingbridge.ingress.relay.cli", "--stop-at-eof")

RESTART_S = (0.1, 5.0)
"""The delay before it is started again: the first, and the longest."""
STOP_WITHIN_S = 2.0
"""A relay ends within 1 s of its input's end. One that does not is killed after this; what it had not saved
in the checkpoint is published again."""
_LIVED_S = 60.0
"""After it ran longer than this, the delays begin again with the first."""


async def keep_running(on_unexpected_exit: Callable[[], None], command: Sequence[str] = RELAY) -> None:
    """Run ``command``, and again after growing delays, whatever ended it, even where the machine has no
    process, memory or descriptor left to start it. When cancelled, it stops the child and waits for that."""
    loop = asyncio.get_running_loop()
    delay_s, most_s = RESTART_S
    while True:
        began = loop.time()
        why = await _run_once(command)
        if loop.time() - began > _LIVED_S:
            delay_s = RESTART_S[0]
        log.error("relay.ended", why=str(why), again_in_s=delay_s)
        on_unexpected_exit()
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, most_s)


async def _run_once(command: Sequence[str]) -> int | OSError:
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    except OSError as error:
        return error
    try:
        return await process.wait()
    finally:
        if process.returncode is None and process.stdin is not None:  # cancelled
            process.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await process.wait()
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
