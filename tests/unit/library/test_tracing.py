"""Traces cost nothing where there are none, and harm nothing where they cannot be sent."""

import hashlib
import subprocess
import sys
import threading

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from dingbridge.events import Received, decode, to_records
from dingbridge.settings import TracingSettings
from dingbridge.tracing import open_tracer, trace_id
from dingbridge.tracing.otel import OtelTracer

WITHOUT_OTEL = """
import sys
import dingbridge.worker.service, dingbridge.cli.main
from dingbridge.errors import SettingsError
from dingbridge.settings import ConsumerSettings
from dingbridge.tracing import open_tracer
assert open_tracer(ConsumerSettings.load(), "x") is None
assert "opentelemetry" not in sys.modules
sys.modules["opentelemetry"] = None  # as if it were not installed
assert open_tracer(ConsumerSettings.load(), "x") is None
try:
    ConsumerSettings.load(otel_exporter_otlp_endpoint="http://127.0.0.1:4318")
except SettingsError as error:
    assert "install dingbridge[otel], from the wheel or index" in str(error), error
else:
    raise AssertionError("not said")
"""


class Broken(SpanExporter):
    """Fails, by exception or by its answer, until it is mended."""

    def __init__(self):
        self.mended, self.spans, self.exports = False, 0, 0

    def export(self, spans):
        self.exports += 1
        if self.mended:
            self.spans += len(spans)
            return SpanExportResult.SUCCESS
        if self.exports % 2:
            raise ConnectionError("refused")
        return SpanExportResult.FAILURE


def test_without_an_endpoint_nothing_is_imported_and_without_the_extra_one_is_refused_in_words():
    done = subprocess.run([sys.executable, "-c", WITHOUT_OTEL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert open_tracer(TracingSettings.load(), "x") is None


def event_of(number: int):
    body = f'{{"EventType": "user_add_org", "eventId": "e{number}", "CorpId": "c", "UserId": ["u1"]}}'
    (record,) = to_records(Received(number, "j", 1, "default", "http", body.encode()))
    return decode(record.value)


def attempt(tracer, consumer="a", number=1):
    """Whether an attempt that succeeds made a span."""
    with tracer.attempt(consumer, event_of(number), ("topic", 0, number), 1) as span:
        if span is not None:
            span.end("done")
    return span is not None


def test_an_events_trace_id_follows_from_its_source_and_id():
    event = event_of(1)
    assert (event.source, event.id) == ("/dingtalk/c/default", "user_add_org:e1/u1")
    digest = hashlib.sha256(b"/dingtalk/c/default\nuser_add_org:e1/u1").hexdigest()
    assert f"{trace_id(event):032x}" == digest[:32]


def test_all_consumers_trace_the_same_share_of_the_events_each_event_in_one_trace():
    traced = []
    for consumer in ("a", "b"):
        spans = InMemorySpanExporter()
        tracer = OtelTracer("x", 0.1, spans)
        sampled = {number for number in range(1_000) if attempt(tracer, consumer, number)}
        tracer.close()
        found = spans.get_finished_spans()
        assert all(span.parent is None for span in found)
        assert {span.context.trace_id for span in found} == {trace_id(event_of(n)) for n in sampled}
        assert len(found) == len(sampled)
        traced.append(sampled)
    assert traced[0] == traced[1]
    assert 50 < len(traced[0]) < 150


def test_a_handlers_span_is_in_its_attempt_and_one_beside_it_is_in_a_trace_of_its_own():
    spans = InMemorySpanExporter()
    tracer = OtelTracer("x", 1.0, spans)
    theirs = tracer._tracer
    with tracer.attempt("a", event_of(1), ("topic", 0, 1), 1) as span:
        theirs.start_span("inside").end()
        theirs.start_span("beside", Context()).end()
        span.end("done")
    tracer.close()
    inside, beside, outer = spans.get_finished_spans()
    assert inside.parent.span_id == outer.context.span_id
    assert inside.context.trace_id == outer.context.trace_id == trace_id(event_of(1))
    assert beside.context.trace_id != outer.context.trace_id


def test_an_attempt_that_is_cancelled_ends_its_span_without_the_exceptions_text():
    spans = InMemorySpanExporter()
    tracer = OtelTracer("x", 1.0, spans)
    with pytest.raises(KeyError), tracer.attempt("a", event_of(1), ("topic", 0, 1), 1):
        raise KeyError("李雷")
    tracer.close()
    (failed,) = spans.get_finished_spans()
    assert (failed.status.is_ok, failed.attributes["error.type"]) == (False, "KeyError")
    assert "李雷" not in failed.to_json()


def test_a_receiver_that_takes_nothing_harms_nobody_and_is_said_once():
    broken = Broken()
    tracer = OtelTracer("x", 1.0, broken)
    with capture_logs() as logs:
        for _ in range(4):
            attempt(tracer)
            tracer._processor.force_flush()
        broken.mended = True
        attempt(tracer)
        tracer.close()
    assert (broken.exports, broken.spans) == (5, 1)
    assert [(one["event"], one.get("lost")) for one in logs] == [
        ("traces.not_sent", None),
        ("traces.sent_again", 4),
    ]


def test_a_receiver_that_never_answers_holds_nobody_up(monkeypatch):
    """Neither who ends a span, when the queue is full, nor the end of the process."""
    release = threading.Event()

    class Stuck(SpanExporter):
        def export(self, spans):
            release.wait()
            return SpanExportResult.SUCCESS

    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "512")
    tracer = OtelTracer("x", 1.0, Stuck())
    for _ in range(1_200):  # more than twice what the queue holds
        attempt(tracer)
    tracer.close()  # returns, though nothing was taken
    release.set()
