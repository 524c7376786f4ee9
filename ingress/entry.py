"""The one way of a pushed callback into the journal, by HTTP or Stream: counted, and traced from here on.

Whether a callback is traced is decided first, so that one which is not costs nothing. ``traceparent`` is kept
with the callback, so its trace outlives this process.
"""

import time
from dataclasses import replace

from prometheus_client import Counter

from dingbridge.events import CallbackFacts, dedupe_key
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.writer import Journal
from dingbridge.tracing import Tracer


class JournalEntry:
    """Accepts callbacks into ``journal``, and counts them in ``callbacks``, as ``HttpMetrics`` has it.
    Without ``tracer`` there are no traces."""

    def __init__(self, journal: Journal, callbacks: Counter, tracer: Tracer | None = None) -> None:
        self._journal, self._callbacks, self._tracer = journal, callbacks, tracer

    def sample(self) -> int | None:
        """Decide whether the callback that has just come is traced: its trace's start for ``accept``, or
        None."""
        return None if self._tracer is None else self._tracer.sample()

    async def accept(self, callback: NewCallback, event_type: str, began_ns: int | None) -> None:
        """Returns once ``callback`` is on the disk, or known to be there already. ``event_type`` is a known
        one, or ``other``. Raises ``JournalUnavailable``."""
        if began_ns is None or self._tracer is None:
            new = await self._journal.append(callback)
        else:
            new = await self._traced(self._tracer, callback, event_type, began_ns)
        self._callbacks.labels("kept" if new else "duplicate", "", event_type, callback.via).inc()

    async def _traced(self, tracer: Tracer, callback: NewCallback, event_type: str, began_ns: int) -> bool:
        span = tracer.callback(callback.via, callback.app, event_type, began_ns)
        try:
            new = await self._journal.append(replace(callback, traceparent=span.traceparent))
        except BaseException as error:
            reason = error.reason if isinstance(error, JournalUnavailable) else type(error).__name__
            span.end("unavailable", reason)
            raise
        span.end("kept" if new else "duplicate")
        return new


def pushed_callback(app: str, via: str, body: bytes, facts: CallbackFacts, push_id: bytes) -> NewCallback:
    """The row of what DingTalk has just pushed. A retry of the push repeats ``push_id``: for an event without
    an identity of its own, only that distinguishes a retry from a new event with the same content."""
    signature_key = None
    if not facts.has_identity:
        # 8 zero bytes where other keys have the event's time; "s" keeps it apart from a content hash
        signature_key = bytes(8) + b"s" + push_id
    return NewCallback(now_ms(), app, via, body, dedupe_key(facts, app, body), signature_key)


def now_ms() -> int:
    """Epoch ms by this machine's clock."""
    return int(time.time() * 1000)
