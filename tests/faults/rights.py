"""The rights in Kafka that docs/explanation/security.md lists, and what a client tries with them.

The lists are read from the document itself, so that it cannot promise what was not tried.
"""

import argparse
import asyncio
import re
import shlex
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from dingbridge.kafka.client import connection, producer
from dingbridge.settings import KafkaSettings
from tests.support.secure_kafka import Right

DOCUMENT = Path(__file__).parents[2] / "docs" / "explanation" / "security.md"
APPROVAL, TASK, CONTACT = "bpms_instance_change", "bpms_task_change", "user_modify_org"


def documented(who: str, environment: dict[str, str], names: dict[str, str] | None = None) -> list[Right]:
    """The rights that the document grants to ``who``, for the prefixes and names of a test."""
    found = re.search(rf"<!-- acls: {who} -->\n```sh\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found
    parser = argparse.ArgumentParser(prefix_chars="-")
    parser.add_argument("--operation", action="append")
    parser.add_argument("--topic", action="append", default=[])
    parser.add_argument("--group", action="append", default=[])
    parser.add_argument("--resource-pattern-type", default="literal")
    rights = []
    for line in found[1].replace("\\\n", "").splitlines():
        if line.startswith("#"):
            continue
        line = line.replace("ctl-dingtalk.", environment["CONTROL_PREFIX"])
        line = line.replace(" dingtalk.", f" {environment['TOPIC_PREFIX']}")
        for ours, theirs in (names or {}).items():
            line = line.replace(ours, theirs)
        options, _ = parser.parse_known_args(shlex.split(line))
        places = [*(("topic", name) for name in options.topic), *(("group", name) for name in options.group)]
        pattern = options.resource_pattern_type
        rights += [Right(operation, *place, pattern) for place in places for operation in options.operation]
    return list(dict.fromkeys(rights))


def settings_of(environment: dict[str, str]) -> KafkaSettings:
    return KafkaSettings.load(**{name.lower(): value for name, value in environment.items()})


async def consume(settings: KafkaSettings, topic: str, group: str) -> bytes | None:
    """The value of one record, read as a team would. Raises ``KafkaError``."""
    consumer = AIOKafkaConsumer(
        topic, **connection(settings), group_id=group, auto_offset_reset="earliest", enable_auto_commit=True
    )
    try:
        await consumer.start()
        record = await asyncio.wait_for(consumer.getone(), 20)
        return record.value
    finally:
        await consumer.stop()


async def forge(settings: KafkaSettings, topic: str) -> None:
    sender = producer(settings, request_timeout_ms=5000)
    try:
        await sender.start()
        await sender.send_and_wait(topic, b"forged")
    finally:
        await sender.stop()
