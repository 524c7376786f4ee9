"""The ingress's side of a relay's process: it is kept running, told things, and its stats are counted.

The process runs ``python -m ingress.relay``, tells its stats as JSON objects on its standard output, a line
each, and stops when its standard input closes. Whatever ends it, and also when the machine has no process,
memory or descriptor left to start one, it is tried again.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import structlog
from prometheus_client import Gauge

from ingress.errors import JournalError
from ingress.metrics import PublishingMetrics

log = structlog.get_logger(__name__)

RESTART_S = (0.1, 5.0)
"""How long a process that ended is waited for before it is started again, first and at most."""
DRAIN_RESTART_S = (0.1, 60.0)
"""The same of one that drains: it also ends where what is parked is refused again."""
_LIVED_S = 60.0
"""Whatever ran for so long is started again at once, as at first."""
_WITHOUT_KAFKA_S = 2.0
_WAKE_EVERY_S = 0.01
_FORGET_WITHIN_S = 10.0


class SupervisedProcess:
    """``python -m <module> <arguments>``, started again until ``stop``, or until it ends with 0 where
    ``until_done``. ``hear`` gets each object that it tells; ``gone`` hears of every end but the one asked
    for: the exit code, or why it could not be started, and in how many seconds it is tried again."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        hear: Callable[[dict[str, Any]], None],
        gone: Callable[[int | OSError, float], None],
        *,
        until_done: bool = False,
        restart_s: tuple[float, float] | None = None,
    ) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._environment, self._hear, self._gone = dict(environment), hear, gone
        self._until_done, self._restart_s = until_done, restart_s
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping, self._hurry = asyncio.Event(), asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether there is a process now."""
        return self._process is not None and self._process.returncode is None

    @property
    def done(self) -> bool:
        """Whether it has ended, and is not started again."""
        return self._task is not None and self._task.done()

    def start(self) -> None:
        """Begin, in the loop that runs; also again, after ``stop``."""
        self._stopping.clear()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def tell(self, line: bytes, *, unless_busy: bool = False) -> None:
        """Write ``line`` to the child, if there is one; ``unless_busy``: not while it reads nothing."""
        process = self._process
        if not self.running or process is None or process.stdin is None or process.stdin.is_closing():
            return
        if not unless_busy or not process.stdin.transport.get_write_buffer_size():
            process.stdin.write(line)

    def hurry(self) -> None:
        """If it is about to be started again, do it now."""
        self._hurry.set()

    async def stop(self, timeout_s: float) -> None:
        """Close its standard input and wait; what has not ended after ``timeout_s`` is killed."""
        self._stopping.set()
        self._hurry.set()
        self._close_input()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=timeout_s)
        if late and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._task.cancel()
        await asyncio.wait([self._task])

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        first_s, most_s = self._restart_s or RESTART_S
        delay_s = first_s
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
            if self._stopping.is_set() or (self._until_done and why == 0):
                return
            if loop.time() - began > _LIVED_S:
                delay_s = first_s
            self._gone(why, delay_s)
            self._hurry.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._hurry.wait()
            delay_s = min(delay_s * 2, most_s)

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
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
                log.warning("child.line_ignored", module=self._command[2])


class PublisherProcess:
    """The relay of one ``folder``. ``state`` is what it last told of itself."""

    def __init__(
        self,
        metrics: PublishingMetrics,
        environment: Mapping[str, str],
        folder: Path,
        connected: Gauge | None = None,
        *,
        on_damaged: Callable[[str], None] | None = None,
        drain: bool = False,
    ) -> None:
        """Several may count in the same ``metrics``; ``connected`` is set by one of them. ``on_damaged``
        hears why the journal cannot be read any more. ``drain``: it ends when all is published."""
        self._metrics, self._connected, self._on_damaged = metrics, connected, on_damaged
        self._process = SupervisedProcess(
            "ingress.relay",
            [str(folder), *(["--drain"] if drain else [])],
            environment,
            self._take,
            self._gone,
            until_done=drain,
            restart_s=DRAIN_RESTART_S if drain else None,
        )
        self._drain = drain
        self._resting: asyncio.TimerHandle | None = None
        self._kept_meanwhile = False
        self._forgotten: asyncio.Future[int] | None = None
        self.state: dict[str, Any] = {"state": "starting", "words": "the relay is starting"}

    @property
    def done(self) -> bool:
        """Whether it has drained its folder."""
        return self._process.done

    def start(self) -> None:
        """Begin; also again, after ``stop``."""
        self._process.start()

    def wake(self) -> None:
        """Something new was kept. The relay hears of the first at once, of those behind it together."""
        if self._resting is not None:
            self._kept_meanwhile = True
            return
        self._process.tell(b"wake\n", unless_busy=True)  # what is busy will find the rows without it
        self._resting = asyncio.get_running_loop().call_later(_WAKE_EVERY_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._kept_meanwhile:
            self._kept_meanwhile = False
            self.wake()

    def retry_parked(self) -> None:
        """Try what is parked now."""
        self._process.tell(b"retry\n")
        self._process.hurry()

    async def forget_damaged(self) -> int:
        """Give up the callbacks that are parked as damaged; how many. Raises ``JournalError`` when the relay
        does not say within some seconds that it has."""
        self._forgotten = self._forgotten or asyncio.get_running_loop().create_future()
        self._process.tell(b"forget-damaged\n")
        try:
            async with asyncio.timeout(_FORGET_WITHIN_S):
                return await asyncio.shield(self._forgotten)
        except TimeoutError:
            raise JournalError(
                f"the relay has not forgotten them within {_FORGET_WITHIN_S:g} s; its log says why, try again"
            ) from None

    async def stop(self, timeout_s: float) -> None:
        """Let it finish what is under way; after ``timeout_s``, or soon if Kafka does not take records, it is
        killed: the checkpoint tells the rest."""
        if self.state["state"] != "up":
            timeout_s = min(timeout_s, _WITHOUT_KAFKA_S)
        await self._process.stop(timeout_s)

    def _gone(self, why: int | OSError, again_in_s: float) -> None:
        if isinstance(why, OSError):
            words = f"the relay cannot be started ({why.strerror}), and it is tried again"
            log.error("publisher.not_started", words=why.strerror, again_in_s=again_in_s)
        elif self._drain:
            log.warning(
                "publisher.not_drained", words="something is parked or unreadable", again_in_s=again_in_s
            )
            return
        else:
            words = f"the relay ended with {why} and is started again"
            log.error("publisher.ended", exit_code=why, again_in_s=again_in_s)
        self.state = {"state": "down", "words": words}
        self._metrics.restarts.inc()
        if self._connected is not None:
            self._connected.set(0)

    def _take(self, stats: dict[str, Any]) -> None:
        self.state = {key: stats[key] for key in ("state", "words", "since", "parked")}
        if self._connected is not None:
            self._connected.set(stats["state"] == "up")
        for event_type, count in stats["published"].items():
            self._metrics.published.labels(event_type).inc(count)
        for reason, count in stats["unclassified"].items():
            self._metrics.unclassified.labels(reason).inc(count)
        for event_type, kind, count in stats["drift"]:
            self._metrics.drift.labels(event_type, kind).inc(count)
        for error, count in stats["errors"].items():
            self._metrics.errors.labels(error).inc(count)
        for seconds in stats["lags"]:
            self._metrics.lag_seconds.observe(seconds)
        for family, counts, total in stats["delays"]:
            self._metrics.delay_seconds.add((family,), counts, total)
        if stats["forgotten"] is not None and self._forgotten is not None:
            self._forgotten.set_result(stats["forgotten"])
            self._forgotten = None
        if stats["damaged"] is not None and self._on_damaged is not None:
            self._on_damaged(stats["damaged"])
