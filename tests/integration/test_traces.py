"""A callback's trace, as a receiver of OpenTelemetry's protocol gets it: from the ingress to each attempt."""

import asyncio
import json
import urllib.request
from urllib.parse import urlencode

from opentelemetry import trace

from dingbridge import Consumer, Retry
from dingbridge.events import decode
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.service import ConsumerService
from tests.integration.worker_support import OPTIONS
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_topic
from tests.support.otlp import otlp_receiver
from tests.support.processes import eventually, free_port
from tests.support.pusher import is_success, signed

SERVER, CLIENT, CONSUMER, INTERNAL = 2, 3, 5, 1  # SpanKind in OpenTelemetry's protocol


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


def ids(traceparent):
    """Of trace and span, as W3C Trace Context writes them; it must be sampled."""
    version, trace_id, span_id, flags = traceparent.split("-")
    assert (version, int(flags, 16) & 1) == ("00", 1)
    return trace_id, span_id


def push(ingress, event_id, users=("u1",)):
    body = {
        "EventType": "user_modify_org",
        "eventId": event_id,
        "CorpId": "dingcorpsample01",
        "UserId": list(users),
    }
    query, data = signed(json.dumps(body | {"TimeStamp": "1700000000000"}).encode())
    request = urllib.request.Request(f"{ingress.url}?{urlencode(query)}", data)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert is_success(answer.read())


async def test_one_trace_from_the_door_to_each_attempt_also_across_a_crash(
    processes, kafka_env, kafka_settings, tmp_path, monkeypatch
):
    with otlp_receiver() as otlp:
        otel = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url,
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        nowhere = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
        ingress = IngressUnderTest(processes, tmp_path, kafka_env, otel, nowhere)
        await asyncio.to_thread(ingress.start)
        await asyncio.to_thread(push, ingress, "one", ("u1", "u2"))
        await asyncio.to_thread(push, ingress, "two")
        await asyncio.to_thread(push, ingress, "two")  # DingTalk pushes it again
        await eventually(lambda: len(otlp.named("POST callback")) == 3, what="the roots")
        ingress.env |= kafka_env
        await asyncio.to_thread(ingress.restart)  # SIGKILL
        await eventually(lambda: asyncio.to_thread(ingress.drained), 120, "all is in Kafka")

        roots = {(one.trace, one.span): one for one in otlp.named("POST callback")}
        assert all(one.kind == SERVER and not one.parent for one in roots.values())
        assert sorted(one.attributes["dingbridge.outcome"] for one in roots.values()) == [
            "duplicate",
            "kept",
            "kept",
        ]
        assert {one.service for one in roots.values()} == {"dingbridge-ingress"}
        kept = {name for name, one in roots.items() if one.attributes["dingbridge.outcome"] == "kept"}
        records = await read_topic(kafka_settings, event_topic(kafka_settings, "user_modify_org"))
        assert {ids(dict(record.headers)["traceparent"].decode()) for record in records} == kept
        assert {ids(decode(record.value).traceparent) for record in records} == kept
        assert len(records) == 3

        await eventually(lambda: otlp.named("send "), what="the batch")
        batches = otlp.named("send ")
        assert all(one.kind == CLIENT and not one.parent for one in batches)
        assert {link for one in batches for link in one.links} == kept
        assert sum(one.attributes["messaging.batch.message_count"] for one in batches) == 3
        assert {one.attributes["dingbridge.outcome"] for one in batches} == {"acknowledged"}

        for name, value in {**otel, **kafka_env}.items():
            monkeypatch.setenv(name, value)
        service = ConsumerService(Twice(), ConsumerSettings.load(data_dir=tmp_path), OPTIONS)
        running = asyncio.ensure_future(service.run())
        await eventually(lambda: len(otlp.named("process ")) == 6, 120, "two attempts of three records")
        service.stop()
        await running
        attempts, theirs = otlp.named("process "), {one.parent: one for one in otlp.named("look up")}
        for one in attempts:
            root = roots[one.trace, one.parent]
            assert one.kind == CONSUMER
            assert one.trace == theirs[one.span].trace == root.trace
            failed = one.attributes["dingbridge.attempt"] == 1
            assert one.failed == failed
            assert one.attributes["dingbridge.outcome"] == ("retry" if failed else "done")
            assert one.attributes.get("error.type") == ("Retry" if failed else None)
            assert one.attributes["messaging.system"] == "kafka"
            assert one.attributes["messaging.operation.type"] == "process"
            assert one.attributes["messaging.consumer.group.name"] == "twice"
            assert one.service == "dingbridge-twice"
        assert len({(one.attributes["cloudevents.event_id"], one.failed) for one in attempts}) == 6
        assert "李雷" not in str(otlp.spans), "no texts of exceptions, which may hold names"
