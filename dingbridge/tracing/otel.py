"""Spans by OpenTelemetry's SDK, sent by OTLP over HTTP. Imported only where traces are wanted.

Names and attributes are those of the semantic conventions for messaging and CloudEvents
(https://opentelemetry.io/docs/specs/semconv/messaging/kafka/). Attributes hold ids and types; never data,
keys, or the text of an exception.

The attempts of an event are roots that share its trace id (``trace_id``). That id decides whether they are
sampled, so all consumers with the same share agree.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode

from dingbridge.events.event import Event
from dingbridge.tracing import trace_id

log = structlog.get_logger(__name__)

CLOSE_S = 2.0
"""How long the end of the process may wait for the last spans, in s."""

_root_trace_id: ContextVar[int | None] = ContextVar("root_trace_id", default=None)
"""The trace id of the span that begins next without a parent; None: a random one."""

_FAILED = frozenset(("retry", "reject", "unavailable", "not_an_event", "given_up", "failed"))


class OtelSpan:
    """A span of ours."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def end(self, outcome: str, error: str | None = None) -> None:
        self._span.set_attribute("dingbridge.outcome", outcome)
        if error is not None or outcome in _FAILED:
            self._span.set_attribute("error.type", error or outcome)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class _TraceIds(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        return _root_trace_id.get() or super().generate_trace_id()


class OtelTracer:
    """The spans of this process. ``ratio`` is the share of events that are traced, 0 to 1."""

    def __init__(self, service: str, ratio: float, exporter: SpanExporter | None = None) -> None:
        self._share = TraceIdRatioBased(ratio)
        # it logs each attempt to send, and what cannot be sent; below, that is logged once
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        self._processor = BatchSpanProcessor(_Quiet(exporter or OTLPSpanExporter()))
        # also the spans that handlers make go by this provider
        provider = TracerProvider(
            ParentBased(self._share), resource, shutdown_on_exit=False, id_generator=_TraceIds()
        )
        provider.add_span_processor(self._processor)
        trace.set_tracer_provider(provider)
        self._tracer = provider.get_tracer("dingbridge")

    @contextmanager
    def attempt(
        self, consumer: str, event: Event, position: tuple[str, int, int], number: int
    ) -> Iterator[OtelSpan | None]:
        trace_of_event = trace_id(event)
        # asked before a span is built, which costs more than most handlers have to
        if self._share.should_sample(None, trace_of_event, "").decision is Decision.DROP:
            yield None
            return
        topic, partition, offset = position
        token = _root_trace_id.set(trace_of_event)
        try:
            span = self._tracer.start_span(
                f"process {topic}",
                Context(),
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
            )
        finally:
            _root_trace_id.reset(token)
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
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
