"""The relay: a task of the ingress that publishes the journal, and begins again when it ends.

The listener must go on whatever happens here, since DingTalk gives up after 40 s. Only errors of the journal
end the process.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from dingbridge.apps.company import Companies
from dingbridge.error_location import error_location
from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.settings import IngressSettings
from dingbridge.tasks import being_cancelled

log = structlog.get_logger(__name__)

_PAUSE_S: Final = (0.1, 5.0)
"""Before it begins again: the first, and the longest."""
_STOP_WITHIN_S: Final = 0.8
"""What Kafka has not acknowledged by then is published again after the next start."""


class Relay:
    """Publishes ``journal``, which must have been started before ``run``."""

    def __init__(
        self,
        settings: IngressSettings,
        companies: Callable[[], Companies],
        journal: Journal,
        status: RelayStatus,
    ) -> None:
        self._settings, self._companies, self._journal = settings, companies, journal
        self.status = status
        self._publisher: Publisher | None = None
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Publish until cancelled. Raises ``JournalError`` when the journal cannot be read any more."""
        pause_s = _PAUSE_S[0]
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                publisher = Publisher(self._settings, self._companies, self._journal, self.status)
                self._publisher = publisher
                self._journal.on_commit = publisher.wake
                await publisher.run()
                self._ended.set()
                await asyncio.Event().wait()
            except JournalError:
                raise
            except (Exception, asyncio.CancelledError) as error:  # aiokafka passes on those of its own tasks
                if being_cancelled():
                    raise
                words = error_location(error, package="")
                log.error("relay.ended", error=type(error).__name__, words=words)
                self.status.restarting(f"the relay has ended ({words}) and begins again")
            pause_s = _PAUSE_S[0] if loop.time() - began > 2 * _PAUSE_S[1] else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S[1])

    async def stop(self) -> None:
        """Send nothing new, and wait for what is under way, a moment at most."""
        if self._publisher is not None:
            self._publisher.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await self._ended.wait()

    def retry(self) -> None:
        """Try at once what is parked."""
        if self._publisher is not None:
            self._publisher.retry()
