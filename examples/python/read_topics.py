"""Reads topics of the bridge with confluent-kafka and the CloudEvents SDK, and none of our code.

Arguments are EventTypes.
"""

import os
import signal
import sys

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event
from confluent_kafka import Consumer, KafkaError, KafkaException
from models.bpms_instance_change import BpmsInstanceChange


def describe(event: BaseCloudEvent) -> str:
    head = f"{event.get_type()} {event.get_subject() or '-'}"
    if event.get_type() != "com.dingtalk.bpms_instance_change":
        return head
    approval = BpmsInstanceChange.model_validate(event.get_data())
    took = "-" if approval.finishTime is None else f"{approval.finishTime - approval.createTime} ms"
    return f"{head} {approval.type} {approval.result or '-'} {took} {approval.title}"


def main(types: list[str]) -> None:
    prefix = os.environ.get("TOPIC_PREFIX", "dingtalk.")
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
            "group.id": os.environ.get("GROUP_ID", "example-python"),  # one group for each system
            "auto.offset.reset": "earliest",  # else the first start skips what is there
            "enable.auto.commit": False,  # commit what was done, not what was fetched
        }
    )
    consumer.subscribe([prefix + event_type for event_type in types])
    seen = set()  # yours is a table, written in the transaction of your own work
    try:
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if error := message.error():
                if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:  # it appears with its first event
                    continue
                raise KafkaException(error)
            try:
                record = KafkaMessage(dict(message.headers() or ()), message.key(), message.value())
                event = from_structured_event(record)
                line = describe(event)
            except Exception as unfit:  # `required` is what DingTalk documents, no promise: put it aside
                place = f"{message.topic()}/{message.partition()}/{message.offset()}"
                print(f"not understood: {place}: {type(unfit).__name__}", file=sys.stderr, flush=True)
            else:
                identity = event.get_source(), event.get_id()
                print(f"seen before: {event.get_id()}" if identity in seen else line, flush=True)
                seen.add(identity)
            consumer.commit(message, asynchronous=False)
    finally:
        consumer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main(sys.argv[1:] or ["bpms_instance_change"])
