"""An event's trace, as a receiver of OpenTelemetry's protocol gets it: each attempt of each consumer."""

from opentelemetry import trace

from dingbridge import Consumer, Retry
from dingbridge.events import Received, decode, to_records
from dingbridge.tracing import trace_id
from tests.integration.worker_support import publish
from tests.support.otlp import otlp_receiver
from tests.support.processes import eventually

CONSUMER = 5  # SpanKind in OpenTelemetry's protocol


class Twice(Consumer):
    """Its first attempt fails; each makes a span of its own, as instrumented libraries do."""

    name = "twice"
    topics = ("user_modify_org",)
    uses_database = False
    retry_first_s = retry_max_s = 0.01

    def __init__(self):
        self.attempts = []

    async def handle(self, event, tx, prepared):
        with trace.get_tracer("theirs").start_as_current_span("look up"):
            self.attempts.append(event.id)
        if self.attempts.count(event.id) == 1:
            raise Retry("李雷 is away")


class Thrice(Twice):
    name = "thrice"


async def test_one_trace_has_the_attempts_of_all_consumers(kafka_env, kafka_settings, processes):
    """Each consumer has a process of its own, since a process has one provider of spans: the first."""
    body = b'{"EventType":"user_modify_org","eventId":"one","CorpId":"dingcorp","UserId":["u1","u2"]}'
    records = to_records(Received(1, "j", 1, "default", "http", body))
    await publish(kafka_settings, records)
    expected = {f"{trace_id(decode(record.value)):032x}" for record in records}
    with otlp_receiver() as otlp:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url, "OTEL_TRACES_SAMPLER_ARG": "1"}
        for consumer in ("Twice", "Thrice"):
            processes.start(
                "consume",
                f"{__file__}:{consumer}",
                env={**kafka_env, **otel, "OTEL_BSP_SCHEDULE_DELAY": "50"},
                name=consumer,
            )
        await eventually(lambda: len(otlp.named("process ")) == 8, 120, "two attempts of two records, twice")
        attempts, theirs = otlp.named("process "), {one.parent: one for one in otlp.named("look up")}
        assert {one.trace for one in attempts} == expected
        for one in attempts:
            assert (one.kind, one.parent) == (CONSUMER, "")
            assert one.trace == theirs[one.span].trace
            failed = one.attributes["dingbridge.attempt"] == 1
            assert one.failed == failed
            assert one.attributes["dingbridge.outcome"] == ("retry" if failed else "done")
            assert one.attributes.get("error.type") == ("Retry" if failed else None)
            assert one.attributes["messaging.system"] == "kafka"
            assert one.attributes["messaging.operation.type"] == "process"
            assert one.service == f"dingbridge-{one.attributes['messaging.consumer.group.name']}"
        found = {(one.service, one.attributes["cloudevents.event_id"], one.failed) for one in attempts}
        assert len(found) == len(attempts) == 8
        assert "李雷" not in str(otlp.spans), "no texts of exceptions, which may hold names"
