"""Traces, where OpenTelemetry is installed (``dingbridge[otel]``) and an endpoint is set.

A callback's trace begins in the ingress, which decides whether it is sampled; all later spans follow the
``traceparent`` of the record. Nothing here imports OpenTelemetry: ``open_tracer`` returns ``None`` if there
are no traces, and callers then make no spans. ``otel.py`` makes the spans.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol

from dingbridge.events.event import Event
from dingbridge.settings.tracing import TracingSettings


class Span(Protocol):
    """One span. ``traceparent`` is its name in the form of W3C Trace Context."""

    @property
    def traceparent(self) -> str: ...

    def end(self, outcome: str, error: str | None = None) -> None:
        """End it; ``error`` is a name of what went wrong, never a text of an exception."""


class Tracer(Protocol):
    """Makes spans, and sends them on a thread of its own; a failure there affects nothing else."""

    def sample(self) -> int | None:
        """Whether a callback that begins now is traced: when it began, epoch ns; None: it is not."""

    def callback(self, via: str, app: str, event_type: str, began_ns: int) -> Span:
        """The root of a callback's trace. ``event_type`` is a known one, or ``other``."""

    def batch(self, topic: str, partition: int, records: int, traceparents: Collection[str]) -> Span:
        """A batch on its way to Kafka, linked to the callbacks ``traceparents`` that have records in it."""

    def attempt(
        self, consumer: str, event: Event, position: tuple[str, int, int], number: int
    ) -> AbstractContextManager[Span | None]:
        """The ``number``-th attempt to handle ``event``, which stands at ``position`` (topic, partition,
        offset), in its callback's trace and as OpenTelemetry's current span; None where its trace is not
        sampled. To be ended, unless it is left by an exception."""

    def close(self) -> None:
        """Send what is left, within a moment."""


def open_tracer(settings: TracingSettings, service: str) -> Tracer | None:
    """What makes the spans of this process, called ``service`` unless the settings name it; None: nothing
    does."""
    if not settings.traced:
        return None
    # of an extra: whoever has no traces need not have it, and imports nothing of it
    tracer: Tracer = import_module("dingbridge.tracing.otel").OtelTracer(service, settings.sampling_ratio)
    return tracer
