"""Traces cost nothing where there are none, and harm nothing where they cannot be sent."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from dingbridge.errors import SettingsError
from dingbridge.events import Received, to_records
from dingbridge.ingress.entry import JournalEntry
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.metrics import HttpMetrics
from dingbridge.ingress.relay.batches import Batch, begin_span
from dingbridge.settings import IngressSettings, TracingSettings
from dingbridge.tracing import open_tracer
from dingbridge.tracing.otel import OtelTracer

CALLBACK = NewCallback(1, "default", "stream", b"{}", b"k")
WITHOUT_OTEL = """
import sys
import dingbridge.ingress.app, ingress.relay.cli, dingbridge.worker.service, dingbridge.cli.main
from dingbridge.errors import SettingsError
from dingbridge.settings import ConsumerSettings, IngressSettings
from dingbridge.tracing import open_tracer
assert open_tracer(ConsumerSettings.load(), "x") is None
assert "opentelemetry" not in sys.modules
sys.modules["opentelemetry"] = None  # as if it were not installed
assert open_tracer(ConsumerSettings.load(), "x") is None
for settings in (IngressSettings, ConsumerSettings):
    try:
        settings.load(otel_exporter_otlp_endpoint="http://127.0.0.1:4318")
    except SettingsError as error:
        assert "install dingbridge[otel], from the wheel or index" in str(error), error
    else:
        raise AssertionError("not said")
"""


class FakeJournal:
    def __init__(self, error=None):
        self.kept, self.error = [], error

    async def append(self, callback):
        if self.error is not None:
            raise self.error
        self.kept.append(callback)
        return True


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
    disabled = TracingSettings.load(otel_exporter_otlp_endpoint="x", otel_sdk_disabled=True)
    assert open_tracer(disabled, "x") is None


@pytest.mark.parametrize(
    ("sampler", "arg", "share"),
    [
        (None, None, 0.01),
        (None, "0.5", 0.5),
        ("parentbased_traceidratio", "0", 0),
        ("traceidratio", "1", 1),
        ("always_on", "0.5", 1),
        ("parentbased_always_off", "0.5", 0),
    ],
)
def test_the_share_is_as_opentelemetrys_variables_say(monkeypatch, sampler, arg, share):
    for name, value in (("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", arg)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert TracingSettings.load().sampling_ratio == share


def test_a_sampler_that_we_do_not_have_is_said(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "jaeger_remote")
    with pytest.raises(SettingsError, match="OTEL_TRACES_SAMPLER: must be 'always_on'"):
        IngressSettings.load()


async def test_what_is_sampled_out_builds_nothing_and_keeps_no_traceparent():
    spans = InMemorySpanExporter()
    tracer, journal = OtelTracer("x", 0.0, spans), FakeJournal()
    entry = JournalEntry(journal, HttpMetrics(CollectorRegistry()).callbacks, tracer)
    for _ in range(100):
        began_ns = entry.sample()
        assert began_ns is None
        await entry.accept(CALLBACK, "other", began_ns)
    assert journal.kept[0] is CALLBACK
    tracer.close()
    assert spans.get_finished_spans() == ()


async def test_about_the_share_that_was_asked_for_is_traced():
    tracer = OtelTracer("x", 0.1, InMemorySpanExporter())
    found = sum(tracer.sample() is not None for _ in range(100_000))
    assert 9_000 < found < 11_000  # over ten standard deviations
    tracer.close()


@pytest.mark.parametrize("error", [JournalUnavailable("disk", "full"), None])
async def test_the_root_span_is_of_what_became_of_the_callback(error):
    spans = InMemorySpanExporter()
    tracer, journal = OtelTracer("x", 1.0, spans), FakeJournal(error)
    entry = JournalEntry(journal, HttpMetrics(CollectorRegistry()).callbacks, tracer)
    before = time.time_ns()
    began_ns = entry.sample()
    if error is None:
        await entry.accept(CALLBACK, "other", began_ns)
    else:
        with pytest.raises(JournalUnavailable):
            await entry.accept(CALLBACK, "other", began_ns)
    tracer.close()
    (root,) = spans.get_finished_spans()
    assert root.start_time >= before
    assert root.attributes["dingbridge.outcome"] == ("kept" if error is None else "unavailable")
    assert root.attributes.get("error.type") == (None if error is None else "disk")
    if error is None:
        context = root.get_span_context()
        expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-"
        assert [one.traceparent[:-2] for one in journal.kept] == [expected]


def batch_of(*traceparents):
    body = b'{"EventType": "user_add_org", "CorpId": "c", "UserId": ["u1", "u2"]}'
    made = Batch(("topic", 3), builder=None)
    for seq, traceparent in enumerate(traceparents):
        received = Received(seq, "j", 1, "default", "http", body, traceparent)
        made.records += [(seq, number, one) for number, one in enumerate(to_records(received))]
    return made


async def test_a_batch_is_linked_to_each_callback_in_it_that_is_traced_and_to_none_twice():
    spans = InMemorySpanExporter()
    tracer = OtelTracer("x", 1.0, spans)
    assert begin_span(tracer, batch_of(None, None)) is None
    traced = [f"00-{n:032x}-{n:016x}-01" for n in range(1, 401)]  # OpenTelemetry leaves out all above 128
    acknowledged, refused = (asyncio.get_running_loop().create_future() for _ in range(2))
    acknowledged.set_result(None)
    refused.set_exception(MessageSizeTooLargeError("the record of 李雷"))
    for future in (acknowledged, refused):
        begin_span(tracer, batch_of(None, *traced))(future)
    tracer.close()
    done, failed = spans.get_finished_spans()
    assert sorted(link.context.trace_id for link in done.links) == list(range(1, 401))
    assert done.attributes["messaging.batch.message_count"] == 802
    assert done.attributes["messaging.destination.partition.id"] == "3"
    assert (done.status.is_ok, failed.status.is_ok) == (True, False)
    assert failed.attributes["error.type"] == "MessageSizeTooLargeError"
    assert "李雷" not in failed.to_json()


def test_a_receiver_that_takes_nothing_harms_nobody_and_is_said_once():
    broken = Broken()
    tracer = OtelTracer("x", 1.0, broken)
    with capture_logs() as logs:
        for _ in range(4):
            tracer.callback("http", "default", "other", 1).end("kept")
            tracer._processor.force_flush()
        broken.mended = True
        tracer.callback("http", "default", "other", 1).end("kept")
        tracer.close()
    assert (broken.exports, broken.spans) == (5, 1)
    assert [(one["event"], one.get("lost")) for one in logs] == [
        ("traces.not_sent", None),
        ("traces.sent_again", 4),
    ]


def test_a_receiver_that_never_answers_holds_nobody_up():
    """Neither who ends a span, when the queue is full, nor the end of the process."""
    release = threading.Event()

    class Stuck(SpanExporter):
        def export(self, spans):
            release.wait()
            return SpanExportResult.SUCCESS

    tracer = OtelTracer("x", 1.0, Stuck())
    for _ in range(5_000):  # more than twice what the queue holds
        tracer.callback("http", "default", "other", 1).end("kept")
    tracer.close()  # returns, though nothing was taken
    release.set()
