"""The one way of a callback into the journal, by HTTP or Stream, with the root span of its trace.

Whether it is traced is decided before anything is built; of those that are not, nothing is. ``traceparent``
is kept with the callback, so its trace outlives this process.
"""

import time
from dataclasses import replace

from dingbridge.tracing import Tracer
from ingress.errors import JournalUnavailable
from ingress.journal.rows import NewCallback
from ingress.journal.writer import Journal


class JournalEntry:
    """Accepts callbacks into ``journal``. Without ``tracer`` there are no traces."""

    def __init__(self, journal: Journal, tracer: Tracer | None = None) -> None:
        self._journal, self._tracer = journal, tracer

    def sample(self) -> int | None:
        """To be asked as a callback comes, and given to ``accept``: what its trace begins with, if any."""
        return None if self._tracer is None else self._tracer.sample()

    async def accept(self, callback: NewCallback, event_type: str, began_ns: int | None) -> bool:
        """As ``Journal.append``. ``event_type`` is a known one, or ``other``."""
        if began_ns is None or self._tracer is None:
            return await self._journal.append(callback)
        span = self._tracer.callback(callback.via, callback.app, event_type, began_ns)
        try:
            new = await self._journal.append(replace(callback, traceparent=span.traceparent))
        except BaseException as error:
            reason = error.reason if isinstance(error, JournalUnavailable) else type(error).__name__
            span.end("unavailable", reason)
            raise
        span.end("kept" if new else "duplicate")
        return new


def now_ms() -> int:
    """Epoch ms by this machine's clock."""
    return int(time.time() * 1000)
