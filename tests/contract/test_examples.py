"""The examples in four languages read what a real ingress has published, and print what their page says."""

import json
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from dingbridge.kafka.client import connection
from tests.contract.examples import Example, block
from tests.contract.published import Published
from tests.contract.toolchain import EXAMPLES, need, npm_install, run
from tests.support.processes import eventually

TOPICS = ("bpms_instance_change", "user_add_org")
REPEATED = "user_add_org:675ebe3b785737974a80754646273141/0000133515112474"
ENDED = {0, 143}
"""Asked to end: a JVM says 128 + SIGTERM when it ends in order."""


def printed(log: Path) -> list[str]:
    """What an example said of records, without what its libraries say."""
    lines = log.read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith(("com.dingtalk.", "seen before: "))]


async def publish_again(published: Published, event_id: str) -> None:
    """One record once more, as after a crash of the publisher; done once for all languages."""
    [*found] = [r for r in published.records["user_add_org"] if json.loads(r.value or b"")["id"] == event_id]
    async with AIOKafkaProducer(**connection(published.settings)) as producer:
        again = found[0]
        await producer.send_and_wait(again.topic, again.value, again.key, headers=[*again.headers])


async def committed(published: Published, group: str) -> dict[str, int]:
    """How many records of each of ``TOPICS`` this group says are done."""
    admin = AIOKafkaAdminClient(**connection(published.settings))
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    prefix = published.settings.topic_prefix
    return {partition.topic.removeprefix(prefix): at.offset for partition, at in offsets.items()}


_repeated: list[str] = []


async def test_an_example_prints_what_its_page_says(
    ready: Example, published: Published, tmp_path: Path
) -> None:
    if not _repeated:
        await publish_again(published, REPEATED)
        _repeated.append(REPEATED)
    expected = block("text", "## What each prints").splitlines()
    group = f"contract-{ready.language.lower()}"
    log = tmp_path / "log"
    process = ready.start(log, published.env | {"GROUP_ID": group})
    try:
        await eventually(
            lambda: len(printed(log)) >= len(expected) or not process.running,
            what=f"{ready.language} printed",
        )
        process.terminate()
        ended = process.wait(60)
    finally:
        process.stop()
    assert sorted(printed(log)) == sorted(expected), process.log_text()
    approvals = [line for line in expected if "bpms_instance_change" in line]
    assert [line for line in printed(log) if "bpms_instance_change" in line] == approvals  # in their order
    assert ended in ENDED, process.log_text()
    assert await committed(published, group) == {"bpms_instance_change": 3, "user_add_org": 4}


TRAPS = """
import { Kafka } from "cloudevents";
const record = JSON.parse(process.argv[1]);
const attempt = (headers, event) => {
  try { return Kafka.toEvent({ headers, value: JSON.stringify(event) }).id; }
  catch (error) { return error.message; }
};
const text = "application/cloudevents+json";
const { time, ...timeless } = record;
console.log(attempt({ "content-type": text }, record));
console.log(attempt({ "content-type": Buffer.from(text) }, record));
console.log(attempt({ "content-type": text }, timeless));
"""


def test_the_two_traps_of_the_javascript_sdk(published: Published) -> None:
    """Where one of these goes away, the page and the example have a sentence to lose."""
    need("node", "npm")
    npm_install(EXAMPLES / "node")
    [record, *_] = published.values("user_add_org")
    out = run(["node", "--input-type=module", "-e", TRAPS, "--", json.dumps(record)], EXAMPLES / "node")
    right, buffers, timeless = out.splitlines()
    assert right == record["id"]
    assert buffers.endswith("startsWith is not a function")
    assert timeless == "Invalid time value"


def test_every_event_has_the_time_that_the_sdk_wants(published: Published) -> None:
    assert all(value["time"] for name in published.records for value in published.values(name))
