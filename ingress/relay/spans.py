"""The span of a batch on its way to Kafka: linked to the callbacks that are in it, and in a trace of its own,
since it belongs to many."""

import asyncio
from collections.abc import Callable
from functools import partial

from dingbridge.tracing import Span, Tracer
from ingress.relay.batches import Batch


def begin_span(tracer: Tracer, batch: Batch) -> "Callable[[asyncio.Future[object]], None] | None":
    """What ends it with the batch; None, and no span, where no callback in it is traced."""
    traced = {one for _, _, record in batch.records if (one := record.traceparent) is not None}
    if not traced:
        return None
    return partial(_end, tracer.batch(*batch.partition, len(batch.records), traced))


def _end(span: Span, future: "asyncio.Future[object]") -> None:
    if future.cancelled():
        span.end("failed", "cancelled")
    elif (error := future.exception()) is not None:
        span.end("failed", type(error).__name__)
    else:
        span.end("acknowledged")
