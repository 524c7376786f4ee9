"""Traces, where OpenTelemetry is installed (``dingbridge[otel]``) and an endpoint is set.

An event's trace begins with the first attempt to handle it. Its id is ``trace_id`` of the event, so all
consumers of one event write the same trace and nothing has to travel in the record. Nothing here imports
OpenTelemetry: ``open_tracer`` returns ``None`` if there are no traces, and callers then make no spans.
``otel.py`` makes the spans.
"""

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol

from dingbridge.events.event import Event
from dingbridge.settings.tracing import TracingSettings


class Span(Protocol):
    """One span."""

    def end(self, outcome: str, error: str | None = None) -> None:
        """End it; ``error`` is a name of what went wrong, never a text of an exception."""


class Tracer(Protocol):
    """Makes spans, and sends them on a thread of its own; a failure there affects nothing else."""

    def attempt(
        self, consumer: str, event: Event, position: tuple[str, int, int], number: int
    ) -> AbstractContextManager[Span | None]:
        """The ``number``-th attempt to handle ``event``, which stands at ``position`` (topic, partition,
        offset), in the event's trace and as OpenTelemetry's current span; None where its trace is not
        sampled. To be ended, unless it is left by an exception."""

    def close(self) -> None:
        """Send what is left, within a moment."""


def trace_id(event: Event) -> int:
    """The 128 bits by which all consumers name the trace of ``event``: the first of SHA-256 over its
    ``source``, a line feed and its ``id``."""
    return int(event.idempotency_key[:32], 16)


def open_tracer(settings: TracingSettings, service: str) -> Tracer | None:
    """Return what makes the spans of this process, None where nothing does. ``service`` is their service,
    unless ``OTEL_SERVICE_NAME`` is set."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    # of an extra: whoever has no traces need not have it, and imports nothing of it
    share = settings.otel_traces_sampler_arg
    tracer: Tracer = import_module("dingbridge.tracing.otel").OtelTracer(service, share)
    return tracer
