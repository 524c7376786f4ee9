"""Spans by OpenTelemetry's SDK, sent by OTLP over HTTP. Imported only where traces are wanted.

Names and attributes are those of the semantic conventions for messaging and CloudEvents
(https://opentelemetry.io/docs/specs/semconv/messaging/kafka/). Attributes hold ids and types; never data,
keys, or the text of an exception.

Whether a callback is traced is decided here, by a random number, before anything is built; so our
own spans need no sampler. Spans that handlers make go by OpenTelemetry's global provider, with the same share
for those that have no parent.
"""

import logging
import os
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from random import random

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SPAN_LINK_COUNT_LIMIT
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBasedTraceIdRatio
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dingbridge.events.event import Event

log = structlog.get_logger(__name__)

CLOSE_S = 2.0
"""How long the end of the process may wait for the last spans, in s."""

LINKS_MAX = 1_000
"""Of a batch: as many as it may have records. OpenTelemetry's own default would leave out most."""

_propagator = TraceContextTextMapPropagator()
_FAILED = frozenset(("retry", "reject", "unavailable", "not_an_event", "given_up", "failed"))


class OtelSpan:
    """A span of ours."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, outcome: str, error: str | None = None) -> None:
        self._span.set_attribute("dingbridge.outcome", outcome)
        if error is not None or outcome in _FAILED:
            self._span.set_attribute("error.type", error or outcome)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtelTracer:
    """The spans of this process. ``ratio`` is the share of callbacks that are traced, 0 to 1."""

    def __init__(self, service: str, ratio: float, exporter: SpanExporter | None = None) -> None:
        self._ratio = ratio
        # it logs each attempt to send, and what cannot be sent; below, that is logged once
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        limits = SpanLimits(max_links=None if OTEL_SPAN_LINK_COUNT_LIMIT in os.environ else LINKS_MAX)
        self._processor = BatchSpanProcessor(_Quiet(exporter or OTLPSpanExporter()))
        ours = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, span_limits=limits)
        theirs = TracerProvider(ParentBasedTraceIdRatio(ratio), resource, shutdown_on_exit=False)
        for provider in (ours, theirs):
            provider.add_span_processor(self._processor)
        trace.set_tracer_provider(theirs)
        self._tracer = ours.get_tracer("dingbridge")

    def sample(self) -> int | None:
        return time.time_ns() if random() < self._ratio else None  # noqa: S311 - a share, no secret

    def callback(self, via: str, app: str, event_type: str, began_ns: int) -> OtelSpan:
        return OtelSpan(
            self._tracer.start_span(
                "POST callback" if via == "http" else f"receive {via}",
                Context(),
                SpanKind.SERVER,
                {"dingbridge.via": via, "dingbridge.app": app, "cloudevents.event_type": event_type},
                start_time=began_ns,
            )
        )

    def batch(self, topic: str, partition: int, records: int, traceparents: Collection[str]) -> OtelSpan:
        contexts = map(_context_of, sorted(set(traceparents)))
        return OtelSpan(
            self._tracer.start_span(
                f"send {topic}",
                Context(),
                SpanKind.CLIENT,
                {
                    "messaging.system": "kafka",
                    "messaging.operation.type": "send",
                    "messaging.operation.name": "send",
                    "messaging.destination.name": topic,
                    "messaging.destination.partition.id": str(partition),
                    "messaging.batch.message_count": records,
                },
                [Link(context) for context in contexts if context is not None],
            )
        )

    @contextmanager
    def attempt(
        self, consumer: str, event: Event, position: tuple[str, int, int], number: int
    ) -> Iterator[OtelSpan | None]:
        parent = None if event.traceparent is None else _context_of(event.traceparent)
        if parent is None or not parent.trace_flags.sampled:
            yield None
            return
        topic, partition, offset = position
        with self._tracer.start_as_current_span(
            f"process {topic}",
            trace.set_span_in_context(trace.NonRecordingSpan(parent), Context()),
            SpanKind.CONSUMER,
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": topic,
                "messaging.destination.partition.id": str(partition),
                "messaging.kafka.offset": offset,
                "messaging.consumer.group.name": consumer,
                "cloudevents.event_id": event.id,
                "cloudevents.event_source": event.source,
                "cloudevents.event_type": event.type,
                "dingbridge.attempt": number,
            },
            record_exception=False,
            set_status_on_exception=False,
            end_on_exit=False,
        ) as span:
            try:
                yield OtelSpan(span)
            except BaseException as error:  # cancelled, say, as its partition goes to another member
                OtelSpan(span).end("failed", type(error).__name__)
                raise

    def close(self) -> None:
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(CLOSE_S)


class _Quiet(SpanExporter):
    """Logs once that spans cannot be sent, and once that they can be again, with how many were lost."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self._lost = exporter, 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:  # whatever it is, it must not be printed for each batch
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                log.warning("traces.not_sent", meaning="look at OTEL_EXPORTER_OTLP_ENDPOINT; events go on")
            self._lost += len(spans)
        elif self._lost:
            log.info("traces.sent_again", lost=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _context_of(traceparent: str) -> SpanContext | None:
    """None for what is no ``traceparent`` of W3C Trace Context."""
    found = _propagator.extract({"traceparent": traceparent}, Context())
    context = trace.get_current_span(found).get_span_context()
    return context if context.is_valid else None
