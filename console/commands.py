"""Runs a ``dingbridge`` command for a page, as it would run in a shell; the page shows it beside its button.

So the console can do nothing that the command line cannot, and a line of the audit can be run again.
"""

import asyncio
import os
import shlex
import signal
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import orjson
import structlog
from aiohttp import web

from dingbridge.console.access.middleware import ADDRESS, USER
from dingbridge.console.audit import Audit, AuditError
from dingbridge.errors import BridgeError

log = structlog.get_logger(__name__)

LIMIT_S: Final = 600.0
"""A command that takes longer is interrupted, as by Ctrl-C."""

_QUIET: Final = {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
_GRACE_S: Final = 10.0
_AT_ONCE: Final = 2
"""Commands of one user."""
_MOST_OUTPUT: Final = 1 << 18
"""Bytes of output that are kept: the last ones."""


@dataclass(frozen=True, slots=True)
class Command:
    """``argv`` without ``dingbridge`` itself; ``count``: how many records the page showed; ``environment``:
    variables for this command alone, which may be secret."""

    argv: tuple[str, ...]
    count: int | None = None
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def shown(self) -> str:
        """As one would type it, but for values of the environment."""
        settings = "".join(f"{name}=… " for name, _ in self.environment)
        return settings + shlex.join(("dingbridge", *self.argv))


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it printed; ``interrupted``: by the time limit; ``unaudited``: its end
    could not be written to the audit."""

    command: Command
    exit_code: int
    output: str
    interrupted: bool = False
    unaudited: bool = False

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


class Commands:
    """Runs commands in the console's own environment."""

    def __init__(self, audit: Audit, *, limit_s: float = LIMIT_S) -> None:
        self._audit, self._limit_s = audit, limit_s
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))

    async def run(self, request: web.Request, command: Command) -> Result:
        """Run it, for an operator, with an entry in the audit before and after. Raises ``AuditError``, when
        nothing was done, and ``BridgeError``."""
        user = request[USER]
        write = partial(
            self._audit.write,
            user=user.name,
            role=user.role.name.lower(),
            address=request[ADDRESS],
            command=command.shown,
            count=command.count,
        )
        async with self._turns[user.name]:
            await write("command")
            ended = partial(write, "command_ended")
            try:
                result = await self._finished(command)
            except BaseException as error:
                with suppress(AuditError):
                    await ended(reason="not started" if isinstance(error, BridgeError) else "console stopped")
                raise
            try:
                await ended(exit_code=result.exit_code, reason="time limit" if result.interrupted else None)
            except AuditError as error:  # it has been done, whatever the audit's disk says
                log.error("console.end_not_audited", command=command.argv[:2], error=str(error))
                result = replace(result, unaudited=True)
        return result

    async def _finished(self, command: Command) -> Result:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "dingbridge.cli.main",
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=os.environ | _QUIET | dict(command.environment),
            )
        except OSError as error:
            raise BridgeError(f"{command.shown}: cannot be started ({error.strerror})") from error
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        reading = asyncio.create_task(_tail(process.stdout))
        interrupted = False
        try:
            async with asyncio.timeout(self._limit_s):
                await process.wait()
        except TimeoutError:
            interrupted = True
            await _interrupt(process)
        except BaseException:  # the console stops
            await _interrupt(process)
            reading.cancel()
            raise
        output = (await reading).decode("utf-8", "replace")
        return Result(command, process.returncode or 0, output, interrupted)


async def _interrupt(process: asyncio.subprocess.Process) -> None:
    """End it as by Ctrl-C, so that it leaves nothing half done and says how to go on; after ``_GRACE_S``, or
    when this is cancelled, by a kill."""
    try:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_GRACE_S):
            await process.wait()
    except TimeoutError:  # whoever was started in the background by a shell ignores SIGINT
        pass
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _tail(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while block := await stream.read(1 << 16):
        kept = (kept + block)[-_MOST_OUTPUT:]
    return kept


def object_in(output: str) -> dict[str, Any]:
    """What a command with ``--json`` printed last, which may stand between lines of progress; empty where it
    printed none."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            try:
                return dict(orjson.loads(line))
            except ValueError:
                continue
    return {}
